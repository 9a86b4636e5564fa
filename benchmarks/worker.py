# SPDX-License-Identifier: Apache-2.0
"""One rival in one process: reads commands from standard input, answers with JSON lines.

Commands: {"prepare": task} answers {"error": ...} in units of the task's tolerance, or
{"missing": reason}; {"measure": task, "seconds": s} answers {"time": seconds per call}.
Started by run.py with the rival's name and the number of threads as arguments.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import numpy as np

from . import rivals, tasks
from .measure import time_call


def main() -> None:
    """Answers commands until standard input closes."""
    name, threads = sys.argv[1], int(sys.argv[2])
    # Whatever the library prints must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**fields: Any) -> None:
        answers.write(json.dumps(fields) + "\n")
        answers.flush()

    try:
        rival: Any = rivals.load(name, threads)
    except ImportError as error:
        answer(missing=str(error))
        return
    answer(version=rival.version)
    calls: dict[str, Any] = {}
    for line in sys.stdin:
        command = json.loads(line)
        if "measure" in command:
            answer(time=time_call(calls[command["measure"]], command["seconds"]))
            continue
        task = tasks.ALL[command["prepare"]]
        arrays = task.data()
        call = getattr(rival, task.family)(task, arrays)
        if call is None:
            answer(missing="not offered")
            continue
        answer(error=task.error(arrays, np.asarray(call())))
        calls[task.name] = call


if __name__ == "__main__":
    main()
