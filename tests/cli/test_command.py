# SPDX-License-Identifier: Apache-2.0
"""The command line as a whole: help, exit status, what happens without an extra."""

from __future__ import annotations

import subprocess
import sys

import pytest

import lamella
from lamella import _core, cli


def shell(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    """`python -m lamella` as a user starts it."""
    return subprocess.run(
        [sys.executable, "-m", "lamella", *arguments], capture_output=True, text=True, timeout=120
    )


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert all(command in text for command in cli.COMMANDS)


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0
    assert f"lamella {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [[], ["cook"], ["info", "--loud"], ["bench", "--threads", "0"]]
)
def test_wrong_usage_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "usage: lamella" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"lamella {lamella.__version__}\n"


def test_info_as_a_process() -> None:
    run = shell("info")
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    assert _core.isa() in run.stdout
    assert lamella.__version__ in run.stdout


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m lamella info | true"
    run = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
    assert run.stderr == ""


def test_demo_without_its_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert cli.main(["demo"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "sklearn" in captured.err
    assert "pip install 'lamella[demo]'" in captured.err


def test_importing_lamella_imports_neither_command_line_nor_doors() -> None:
    probe = (
        "import sys, lamella; "
        "print([m for m in sys.modules if m.startswith(('lamella.cli', 'sklearn', 'torch', 'onnx', "
        "'matplotlib', 'scipy'))])"
    )
    run = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=120)
    assert run.stdout == "[]\n", run.stderr
