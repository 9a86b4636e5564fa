# SPDX-License-Identifier: Apache-2.0
"""Coverage-guided fuzzing of the ONNX door with atheris: `run.py TARGET [OPTIONS] FOLDER...`.

OPTIONS and folders of inputs (the first also takes what is new) are libFuzzer's. Instrumented code
is some three times slower, and a process that has run a million inputs holds what they left behind.
So time and memory are only watched here: what looks too much is judged by `targets.py` in a fresh
process without instrumentation, and is a finding if it says so.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["lamella.onnx"]):
    import lamella.onnx

import lamella as lm

sys.path.append(str(Path(__file__).resolve().parent))
import mutator
import targets

lm.set_num_threads(1)

# Short of the limits, because judging in a fresh process costs only time.
_SECONDS, _GROWTH = 1.0, 48 << 20

_target = sys.argv[1] if len(sys.argv) > 1 else ""
_held = targets.forget_peak()


def one_input(data: bytes) -> None:
    """One execution; whatever is no refusal leaves it."""
    global _held
    if targets.peak_bytes() - _held > _GROWTH // 4:
        _held = targets.forget_peak()
    start = time.process_time()
    try:
        follow = targets.TARGETS[_target](data)
    except targets.REFUSALS:
        follow = None
    slow = time.process_time() - start > _SECONDS
    if slow or targets.peak_bytes() - _held > _GROWTH:
        _judge(data)
    if follow is not None:
        try:
            follow()
        except targets.REFUSALS:
            return


def _judge(data: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        file.write(data)
        file.flush()
        found = subprocess.run(
            [sys.executable, targets.__file__, _target, file.name],
            capture_output=True,
            text=True,
            check=False,
        )
    if found.returncode:
        raise AssertionError(found.stdout + found.stderr)


def custom_mutator(data: bytes, size: int, seed: int) -> bytes:
    """Fields are changed, or bytes by libFuzzer."""
    return mutator.mutate(data, size, seed, atheris.Mutate)


def custom_crossover(data: bytes, other: bytes, size: int, seed: int) -> bytes:
    """Fields are changed, or taken from another model."""
    return mutator.mutate(data, size, seed, atheris.Mutate, other)


if __name__ == "__main__":
    if _target not in targets.TARGETS:
        sys.exit(f"run.py: the first argument is one of {', '.join(targets.TARGETS)}")
    atheris.Setup(
        # How libFuzzer starts itself again where it merges: it joins these with spaces.
        [f"{sys.executable} {sys.argv[0]} {_target}", *sys.argv[2:]],
        one_input,
        custom_mutator=custom_mutator,
        custom_crossover=custom_crossover,
    )
    atheris.Fuzz()
