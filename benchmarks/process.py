# SPDX-License-Identifier: Apache-2.0
"""A library in its own process, spoken to in JSON lines.

`Worker` answers command after command (the other end is worker.py), `once` runs a module that
answers once and ends (situations.py).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "LAMELLA_NUM_THREADS",
)


@contextmanager
def _pinned(cores: int) -> Iterator[None]:
    """A child that starts meanwhile inherits so many of this process's cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:cores])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _start(module: str, arguments: Sequence[str], threads: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", f"{__package__}.{module}", *arguments],
        env={
            **os.environ,
            **dict.fromkeys(THREAD_VARIABLES, str(threads)),
            # The child imports what this process imports, installed or not.
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def once(module: str, arguments: Sequence[str], threads: int, cores: int) -> dict[str, Any]:
    """What a module of this package answers in one line of JSON, on so many cores."""
    with _pinned(cores):
        child = _start(module, arguments, threads)
    line, _ = child.communicate()
    fields: dict[str, Any] = json.loads(line) if line else {"missing": "its process ended"}
    return fields


class Worker:
    """The process of one rival, pinned to as many cores as it has threads."""

    def __init__(self, name: str, threads: int) -> None:
        with _pinned(threads):
            self.process = _start("worker", [name, str(threads)], threads)
        self.hello = self._read()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        fields: dict[str, Any] = json.loads(line) if line else {"missing": "its process ended"}
        return fields

    def ask(self, **command: Any) -> dict[str, Any]:
        """Sends one command and waits for its answer."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(command) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return {"missing": "its process ended"}
        return self._read()

    def close(self) -> None:
        """Ends the process."""
        try:
            self.process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
