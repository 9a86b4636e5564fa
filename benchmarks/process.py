# SPDX-License-Identifier: Apache-2.0
"""A rival in its own process, spoken to in JSON lines (the other end is worker.py)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "LAMELLA_NUM_THREADS",
)


class Worker:
    """The process of one rival, pinned to as many cores as it has threads."""

    def __init__(self, name: str, threads: int) -> None:
        before = os.sched_getaffinity(0)
        # The parent pins itself while the child starts, which inherits that.
        os.sched_setaffinity(0, sorted(before)[:threads])
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"{__package__}.worker", name, str(threads)],
                env={
                    **os.environ,
                    **dict.fromkeys(THREAD_VARIABLES, str(threads)),
                    # The worker imports what this process imports, installed or not.
                    "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                },
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        finally:
            os.sched_setaffinity(0, before)
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
