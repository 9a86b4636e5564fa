# SPDX-License-Identifier: Apache-2.0
"""One rival in one process: reads commands from standard input, answers with JSON lines.

Commands: {"prepare": task} answers {"error": ...} in units of the task's tolerance, or
{"missing": reason}; with "file", the fields of a `tasks.model.OnnxModel`, the task is that one;
{"measure": task, "seconds": s} answers {"time": seconds per call} for the task prepared last;
{"bursts": task, "count": n, "idle": s, "busy": s} answers {"median", "percentile90", "first"}, of
all calls of n bursts and of their first ones; {"limit": kind, "size": bytes, "seconds": s} answers
{"found": what `limits.probe` finds} in this process.
Started by run.py with the rival's name and the number of threads as arguments.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import numpy as np

from . import rivals, tasks
from .limits import probe
from .measure import of_bursts, repeats_for_stretch, time_bursts, time_call


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
    # Only the last: all arrays of all tasks would not fit into every memory.
    prepared: dict[str, tuple[Any, int]] = {}
    for line in sys.stdin:
        command = json.loads(line)
        if "limit" in command:
            answer(found=probe(threads, command["limit"], command["size"], command["seconds"]))
            continue
        if "measure" in command:
            call, count = prepared[command["measure"]]
            answer(time=time_call(call, command["seconds"], count))
            continue
        if "bursts" in command:
            call, _ = prepared[command["bursts"]]
            bursts = time_bursts(call, command["count"], command["idle"], command["busy"])
            answer(**of_bursts(bursts))
            continue
        prepared.clear()
        described = command.get("file")
        name = command["prepare"]
        task = tasks.described(**described) if described else tasks.ALL[name]
        offered = getattr(rival, task.family, None)
        arrays = task.data() if offered else {}
        try:
            call = offered(task, arrays) if offered else None
            result = None if call is None else call()
        except Exception as error:
            # Of somebody's model: each library refuses some. What makes a file may be missing.
            if not described and not isinstance(error, ImportError):
                raise
            answer(missing=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")
            continue
        if call is None:
            answer(missing="not offered")
            continue
        several = isinstance(result, list | tuple)
        answer(error=task.error(arrays, result if several else np.asarray(result)))
        prepared[name] = call, repeats_for_stretch(call)


if __name__ == "__main__":
    main()
