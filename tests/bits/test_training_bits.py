# SPDX-License-Identifier: Apache-2.0
"""Same bits of training: a hundred steps end in one state at any number of threads.

Instruction sets with fused multiply-add end in the same state too; the baseline has its own. Each
set runs in a process of its own, as LAMELLA_ISA would choose it on an older machine.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bits import training
from lamella import _core

THREADS = ("1", "2", "3", "7")


@functools.cache
def digests(isa: str) -> dict[str, dict[str, str]]:
    """{run: {threads: digest}} of a process with that instruction set."""
    environment = {**os.environ, "LAMELLA_ISA": isa}
    command = [sys.executable, training.__file__, *THREADS]
    folder = Path(training.__file__).parent
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, str]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("isa", _core.isas())
@pytest.mark.parametrize("run", training.RUNS)
def test_threads(run, isa):
    found = digests(isa)[run]
    assert list(found) == list(THREADS)
    assert len(set(found.values())) == 1, found


@pytest.mark.parametrize("run", training.RUNS)
def test_instruction_sets(run):
    fused = [isa for isa in _core.isas() if isa != "baseline"]
    assert len({digests(isa)[run]["1"] for isa in fused}) <= 1


@pytest.mark.parametrize("run", training.RUNS)
def test_again_and_otherwise(run):
    """The same run has the same digest here, and a shorter one another."""
    want = digests(_core.isa())[run]["1"]
    assert training.train(run) == want
    assert training.train(run, training.STEPS - 1) != want
