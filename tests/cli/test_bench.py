# SPDX-License-Identifier: Apache-2.0
"""`lamella bench`: its tasks, its rivals, their processes, and what it prints.

That lamella and NumPy are right in every task is the business of `benchmarks/test_kernels.py`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lamella import cli
from lamella.benchmarks import compare, rivals, run, tasks
from lamella.benchmarks.limits import Limits
from lamella.benchmarks.process import Worker
from lamella.benchmarks.tasks.work import Work

QUICK = [name for name, task in tasks.ALL.items() if max(task.work) < 1e7]

# What the libraries do that do not offer everything.
TRAINING = {"fit", "training"}
FILES = {"model"}
INFERENCE = {task.family for task in tasks.ALL.values()} - TRAINING - FILES
OFFERED = {
    "lamella": INFERENCE | FILES | TRAINING,
    "numpy": INFERENCE,
    "onnxruntime": INFERENCE | FILES,
    "onnxruntime bound": INFERENCE | FILES,
    "onnxruntime no spinning": INFERENCE | FILES,
    "openvino": FILES,
    "scikit-learn": TRAINING,
    "torch": INFERENCE | {"training"},
    "torch.compile": INFERENCE | {"training"},
    "jax": INFERENCE | {"training"},
}

FAMILIES = sorted({task.family for task in tasks.ALL.values()})


def test_the_default_rows_are_rows_of_every_family() -> None:
    assert tasks.ALL.keys() > tasks.DEFAULT
    assert sorted({tasks.ALL[name].family for name in tasks.DEFAULT}) == FAMILIES


@pytest.mark.parametrize("family", tasks.FAMILIES, ids=lambda m: m.__name__)
def test_names_are_unique(family: Any) -> None:
    assert {tasks.ALL[task.name] for task in family.TASKS} == set(family.TASKS)


def test_families_have_a_rival_method() -> None:
    lamella = rivals.load("lamella", 1)
    assert all(hasattr(lamella, task.family) for task in tasks.ALL.values())


def _work(task: str) -> float:
    return max(tasks.ALL[task].work)


@pytest.mark.parametrize("name", list(rivals.RIVALS))
def test_rivals_are_right_in_their_process(name: str) -> None:
    worker = Worker(name, 1)
    try:
        if "missing" in worker.hello:
            pytest.skip(f"{name}: {worker.hello['missing']}")
        families = [f for f in FAMILIES if f in OFFERED[name]]
        for family in families:
            task = min((t for t in tasks.ALL if tasks.ALL[t].family == family), key=_work)
            reply = worker.ask(prepare=task)
            assert reply.get("error", 2.0) <= 1.0, (task, reply)
    finally:
        worker.close()


@pytest.mark.parametrize("task", QUICK)
def test_a_wrong_answer_is_found(task: str) -> None:
    work = tasks.ALL[task]
    arrays = work.data()
    call = getattr(rivals.load("lamella", 1), work.family)(work, arrays)
    wrong = np.array(call(), np.float64)
    wrong.flat[0] += 0.01 * (1 + abs(wrong.flat[0]))
    assert not work.error(arrays, wrong) <= 1.0
    assert not work.error(arrays, wrong * np.nan) <= 1.0


@pytest.fixture(autouse=True)
def _limits_that_nothing_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is measured in no time may be anything; test_limits.py judges limits."""

    def fast(kind: str, size: int, seconds: float) -> float:
        return 1e-9 if kind == "call" else 1e18

    monkeypatch.setattr(run, "limits_of", lambda worker, threads: Limits(threads, fast, {}))


def bench(*arguments: str) -> int:
    """The command with hardly any measuring, against NumPy."""
    short = ("--rivals", "numpy", "--threads", "1", "--rounds", "1", "--seconds", "0.0001")
    return cli.main(["bench", *short, *arguments])


def test_json_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("--tasks", "dense", "neuron", "--json", "-") == 0
    result = json.loads(capsys.readouterr().out)
    names = {name for name in tasks.ALL if "dense" in name or "neuron" in name}
    assert {row["task"] for row in result["rows"]} == names
    for row in result["rows"]:
        # NumPy runs no files and has no gelu.
        lacks = row["task"].startswith("onnx ") or "gelu" in row["task"]
        numpy = set() if lacks else {"numpy"}
        assert row["times"].keys() == {"lamella"} | numpy
        assert row["limit"] > 0
    assert result["machine"]["cpu"]
    assert result["versions"]["numpy"] == np.__version__


def test_table_file_and_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    assert bench("--tasks", "matmul", "--json", str(before)) == 0
    text = capsys.readouterr().out
    assert "% of limit" in text
    assert all(name in text for name in tasks.ALL if name.startswith("matmul"))
    result = json.loads(before.read_text())
    result["rows"][0]["times"]["lamella"] *= 2
    after.write_text(json.dumps(result))
    assert compare.change(*(next(iter(compare.read(f).values())) for f in (before, after))) == 0.5
    command = [sys.executable, compare.__file__, str(before), str(after)]
    compared = subprocess.run(command, capture_output=True, text=True)
    assert compared.returncode == 1
    assert compared.stdout.splitlines()[0].strip().startswith("0.50x")


def test_the_rows_that_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def nothing(chosen: list[tasks.Task], *_: object) -> list[run.Row]:
        asked.append([task.name for task in chosen])
        return []

    monkeypatch.setattr(run, "measure_rows", nothing)
    assert bench() == 0
    assert bench("--all") == 0
    assert bench("--tasks", "neuron", "relu 100") == 0
    assert asked[0] == [name for name in tasks.ALL if name in tasks.DEFAULT]
    assert asked[1] == list(tasks.ALL)
    assert asked[2] == [name for name in tasks.ALL if "neuron" in name or "relu 100" in name]
    with pytest.raises(SystemExit):
        bench("--all", "--tasks", "neuron")


def test_long_calls_are_not_repeated_needlessly(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        asked = 0

        def ask(self, **command: object) -> dict[str, float]:
            if "prepare" in command:
                return {"error": 0.0}
            self.asked += 1
            clock[0] += 10.0
            return {"time": 10.0 - self.asked}

    clock, slow = [0.0], Slow()
    monkeypatch.setattr(run.time, "monotonic", lambda: clock[0])
    row = run.Row("slow", 1, Work(0.0))
    run.measure_row(row, {"lamella": slow}, 9, 0.03)  # type: ignore[dict-item]
    assert slow.asked == run.FEWEST_ROUNDS
    assert row.times == {"lamella": 7.0}


def test_markdown(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("--tasks", "neuron", "--markdown") == 0
    assert "| neuron 8-1, batch 1 | 1 |" in capsys.readouterr().out


def test_no_such_task_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("--tasks", "cooking") == 2
    assert "no task named like cooking" in capsys.readouterr().err


def test_a_library_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here', name='torch')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert bench("--tasks", "neuron", "--rivals", "torch") == 0
    assert "torch: skipped: no torch here" in capsys.readouterr().err
