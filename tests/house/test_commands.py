# SPDX-License-Identifier: Apache-2.0
"""Commands that pages, docstrings and CI name can be given: targets, scripts, flags, variables.

That they do what they say is shown where they are tested: tests/cli, benchmarks/test_kernels.py.
"""

from __future__ import annotations

import ast
import contextlib
import io
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from house.tree import ROOT, name, sources
from lamella import cli

PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "benchmarks" / "RESULTS.md"]
SCRIPTS = [ROOT / "Makefile", ROOT / ".ci" / "run"]
MODULES = sources("benchmarks", "tests", "python", suffixes=(".py",))

# A command stands in a line that is indented, or between backticks; what follows it in the line,
# and in the next one behind a backslash, are its arguments.
BEGIN = (
    r"(?:^ {4}|`|^(?:  )?(?:stage|beside) \"[^\"]*\" |^#   )"
    r"(?:[A-Z_]+=\S+ )*(?:[^\s`]*/)?(?:python -m )?"
)
REST = r"((?:[^\n`\\]|\\\n)*)"
FLAG = re.compile(r"(?<=[\s\[(|])--[a-z][a-z-]*")


def commands(pattern: str, text: str) -> list[tuple[str, str]]:
    """What the pattern's group names, with the arguments that follow."""
    return [
        (match[1], match[2].partition("  #")[0])
        for match in re.finditer(BEGIN + pattern + REST, text, flags=re.MULTILINE)
    ]


def text_of(path: Path) -> str:
    """A page, or the docstring of a module."""
    text = path.read_text()
    return text if path.suffix != ".py" else ast.get_docstring(ast.parse(text)) or ""


@cache
def help_of_lamella(command: str) -> str:
    """What `lamella command --help` prints."""
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.suppress(SystemExit):
        cli.main([command, "--help"])
    return told.getvalue()


@cache
def help_of_pytest() -> str:
    """What `pytest --help` prints, with the plugins of these tests."""
    command = [sys.executable, "-m", "pytest", "--help", str(ROOT / "tests")]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def has(flag: str, text: str) -> bool:
    return re.search(rf"(?<![\w-]){flag}(?![\w-])", text) is not None


def faults(text: str) -> list[str]:
    """What the text says that cannot be said."""
    makefile = (ROOT / "Makefile").read_text()
    found = []
    for target, rest in commands(r"make ([a-z]+)\b", text):
        if not re.search(rf"^{target}:", makefile, flags=re.MULTILINE):
            found.append(f"make {target}")
        variables = re.findall(r"\b([A-Z]+)=", rest)
        known = re.findall(r"^([A-Z]+) \?=|\$\(([A-Z]+)\)", makefile, flags=re.MULTILINE)
        names = {one for pair in known for one in pair}
        found += [f"make {target} {one}=" for one in variables if one not in names]
    for script, rest in commands(r"python ((?:benchmarks|tests|\.ci)/\S+\.py)", text):
        path = ROOT / script
        source = path.read_text() if path.exists() else ""
        found += [] if source else [script]
        # run.py has its flags from the same function as `lamella bench`.
        found += [f"{script} {one}" for one in FLAG.findall(rest) if f'"{one}"' not in source]
    for command, rest in commands(r"lamella (\w+|--version)\b", text):
        if command != "--version" and command not in cli.COMMANDS:
            found.append(f"lamella {command}")
            continue
        flags = FLAG.findall(rest)
        known = help_of_lamella(command) if flags else ""
        found += [f"lamella {command} {one}" for one in flags if not has(one, known)]
    for _, rest in commands(r"(pytest)\b", text):
        flags = FLAG.findall(" " + rest)
        known = help_of_pytest() if flags else ""
        found += [f"pytest {one}" for one in flags if not has(one, known)]
        paths = re.findall(r"(?<!\S)(?:tests|benchmarks)[\w/.]*", rest)
        found += [one for one in paths if not (ROOT / one).exists()]
    return found


@pytest.mark.parametrize("path", [pytest.param(one, id=name(one)) for one in PAGES + SCRIPTS])
def test_commands_of_pages_can_be_given(path):
    assert faults(text_of(path)) == []


def test_commands_of_modules_can_be_given():
    wrong = {name(path): faults(text_of(path)) for path in MODULES}
    assert {path: found for path, found in wrong.items() if found} == {}


@pytest.mark.parametrize(
    "wrong",
    [
        "`make nothing`",
        "    make ulp STRIDES=257   # some",
        "    lamella benches",
        "so `lamella bench --fast` does",
        "    python benchmarks/gone.py",
        "    .venv/bin/python benchmarks/compare.py a b --limit 3",
        "    .venv/bin/python -m pytest benchmarks/test_kernels.py --benchmark-fly=1",
        "    .venv/bin/python -m pytest tests/ops -k gelu \\\n      --benchmark-fly",
        "    pytest tests/cooking",
    ],
)
def test_a_wrong_command_is_found(wrong):
    assert faults(f"Text\n\n{wrong}\n\nmore")


def test_the_pages_have_commands():
    """The patterns above meet what stands in the pages."""
    text = "\n".join(page.read_text() for page in PAGES)
    assert len(commands(r"make ([a-z]+)\b", text)) >= 12
    assert len(commands(r"lamella (\w+)\b", text)) >= 10
    assert len(commands(r"(pytest)\b", text)) >= 6
    assert {"benchmarks/manners.py", "benchmarks/opening.py"} <= {
        one for one, _ in commands(r"python ((?:benchmarks|tests)/\S+\.py)", text)
    }


def test_variables_of_the_environment_are_read():
    """Every LAMELLA_... of a page stands in quotes somewhere in the code, or is a list of C++."""
    code = "\n".join(path.read_text() for path in sources("cpp", "python", "tests"))
    for page in PAGES:
        for variable in set(re.findall(r"\bLAMELLA_[A-Z_]+", page.read_text())):
            known = f'"{variable}"' in code or f"#define {variable}(" in code
            assert known, f"{page.name}: {variable}"
