# SPDX-License-Identifier: Apache-2.0
"""What calls cost that come in bursts, after pauses in which threads fall asleep and clocks fall.

    python benchmarks/bursts.py [--bursts N] [--idle S] [--busy S] [--threads 1 2] [--markdown]

A service meets its requests so, no benchmark that calls in a loop does. After each pause the same
network is called for a while; every call of every burst is timed by itself. Each library is a
process of its own, pinned to as many cores as threads, one after the other.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if not __package__:  # run as a script: PEP 366
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    __package__ = "benchmarks"

from . import measure, rivals, run, table

TASKS = (
    "dense 512-512 gelu, batch 32",
    "MLP 784-512-512-10, batch 32",
    "dense 1024-1024, batch 256",
)
RIVALS = tuple(n for n in rivals.RIVALS if n == run.OURS or n.startswith("onnxruntime"))
HEADER = ["calls in bursts", "threads", "library", "median", "90th percentile", "first of a burst"]


def row(task: str, threads: int, library: str, reply: dict[str, Any]) -> list[str]:
    """The cells of one line of the table."""
    times = (reply[name] for name in ("median", "percentile90", "first"))
    return [task, str(threads), library, *map(measure.format_time, times)]


def measured(
    names: Sequence[str], threads: int, bursts: int, idle: float, busy: float
) -> list[list[str]]:
    """Rows of all tasks: a library that is missing or wrong has none, and is named."""
    workers = run.start(list(names), threads, {})
    try:
        rows = []
        for task in TASKS:
            for name, worker in workers.items():
                reply = worker.ask(prepare=task)
                if not reply.get("error", 2.0) <= 1.0:
                    print(f"{task}: {name} left out: {reply}", file=sys.stderr)
                    continue
                reply = worker.ask(bursts=task, count=bursts, idle=idle, busy=busy)
                rows.append(row(task, threads, name, reply))
        return rows
    finally:
        for worker in workers.values():
            worker.close()


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--bursts", type=int, default=40)
    parser.add_argument("--idle", type=float, default=0.05, help="seconds before each burst")
    parser.add_argument("--busy", type=float, default=0.01, help="seconds of calls")
    parser.add_argument("--rivals", nargs="*", default=list(RIVALS), choices=list(rivals.RIVALS))
    counts = sorted({1, min(2, measure.usable_cores())})
    parser.add_argument("--threads", nargs="*", type=int, default=counts)
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    options = parser.parse_args()
    names = [run.OURS, *(name for name in options.rivals if name != run.OURS)]
    rows = [
        cells
        for threads in options.threads
        for cells in measured(names, threads, options.bursts, options.idle, options.busy)
    ]
    draw = table.markdown if options.markdown else table.render
    print(measure.describe_machine(measure.machine_card()), end="\n\n")
    print(draw(HEADER, rows))
    return 0 if {run.OURS} <= {cells[2] for cells in rows} else 1


if __name__ == "__main__":
    sys.exit(main())
