# SPDX-License-Identifier: Apache-2.0
"""Measures tasks with every rival and prints the table beside the machine's limits.

    lamella bench [--all | --tasks WORD ...] [--threads 1 2] [--rivals NAME ...] [--json FILE]
    lamella bench MODEL.onnx [--batch 1 64 ...] [--shape NAME=1,3,224,224 ...]
    python benchmarks/run.py ...        the same from the repository

Each rival is a process of its own, pinned to as many cores as threads. In every round each rival
measures the task once, one after the other; a row shows the best round. Without --all and --tasks
a selection of the rows is measured. What may be a row's limit is measured right before and right
after it, in lamella's process and over as many bytes as the row goes through (limits.py). A limit
that lamella beats is none: such rows are named at the end, and the status is 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

if not __package__:  # run as a script: PEP 366
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    __package__ = "benchmarks"

from lamella import _core

from . import limits, measure, rivals, table, tasks
from .limits import Limits
from .process import Worker
from .tasks.model import OnnxModel, examples, parse_shapes
from .tasks.work import Work

OURS = "lamella"

# Seconds between two measurements: the idle threads of some rivals spin for a while after their
# last call (OpenBLAS some 100 ms), and would take a core from the next one.
SETTLE = 0.15

# A row ends before its last round when calls are so long that it has taken this many times what its
# rounds were to take, but not before the machine has been met at a few moments.
PATIENCE = 3.0
FEWEST_ROUNDS = 3

# A row above its limit may have met the machine at a better moment: its limits get so many more.
CHANCES = 5


@dataclass
class Row:
    """One task at one thread count; times in seconds per call."""

    task: str
    threads: int
    work: Work
    limit: float = 0.0
    limit_name: str = ""
    times: dict[str, float] = field(default_factory=dict)

    @property
    def best_rival(self) -> str | None:
        """The fastest of the others, None without others."""
        others = {name: time for name, time in self.times.items() if name != OURS}
        return min(others, key=others.__getitem__) if others else None

    def judge(self, limits: Limits) -> None:
        """Sets the limit, as far as the limits are known by now."""
        self.limit, self.limit_name = limits.governing(self.work)

    @property
    def share(self) -> float:
        """The shortest time possible over lamella's."""
        return self.limit / self.times[OURS]

    def cells(self, names: list[str]) -> list[str]:
        """The row of the table, with the times of the named rivals."""
        ours, rival = self.times[OURS], self.best_rival
        return [
            self.task,
            str(self.threads),
            measure.format_time(ours),
            measure.format_time(self.limit),
            self.limit_name,
            f"{100.0 * self.share:.0f}",
            f"{self.times[rival] / ours:.2f} x {rival}" if rival else "-",
            *(measure.format_time(self.times[n]) if n in self.times else "-" for n in names),
        ]


HEADER = ["task", "threads", "lamella", "limit", "set by", "% of limit", "best rival"]


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `bench`."""
    counts = sorted({1, min(2, measure.usable_cores())})
    parser.add_argument(
        "model", nargs="?", help="an ONNX file to measure instead of the rows: lamella, ONNX "
        "Runtime (run(), bound, without spinning) and OpenVINO where they are installed",
    )  # fmt: skip
    parser.add_argument(
        "--batch", nargs="+", type=_positive, default=[1, 64], metavar="N",
        help="of the model, where its first axis is free",
    )  # fmt: skip
    parser.add_argument(
        "--shape", nargs="+", default=[], metavar="NAME=N,N", help="of the model's inputs"
    )
    rows = parser.add_mutually_exclusive_group()
    rows.add_argument(
        "--tasks",
        nargs="+",
        metavar="WORD",
        help=f"of all {len(tasks.ALL)} rows those whose name contains one of the words; "
        f"without it and without --all a selection of {len(tasks.DEFAULT)}",
    )
    rows.add_argument(
        "--all", action="store_true", help="every row; twenty minutes with all rivals"
    )
    parser.add_argument(
        "--rivals", nargs="*", default=list(rivals.RIVALS), choices=list(rivals.RIVALS)
    )
    parser.add_argument("--threads", nargs="*", type=_positive, default=counts)
    parser.add_argument("--rounds", type=_positive, default=9, help="the best one counts")
    parser.add_argument("--seconds", type=float, default=0.03, help="per rival, task and round")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--json", metavar="FILE", help="also write everything there; - prints it")


def _is_chosen(name: str, options: argparse.Namespace) -> bool:
    if options.tasks:
        return any(word in name for word in options.tasks)
    return options.all or name in tasks.DEFAULT


def _of_file(options: argparse.Namespace) -> list[tasks.Task]:
    """The tasks of an ONNX file: one for each batch, or one where nothing is free."""
    shapes = parse_shapes(options.shape)
    model = OnnxModel(options.model).model()
    named = tuple((name or model.input_names[0], extents) for name, extents in shapes)
    found: dict[tuple[tuple[int, ...], ...], tasks.Task] = {}
    for batch in options.batch:
        arrays = examples(model, dict(named), batch)
        model(*arrays.values())  # raises where it does not run
        key = tuple(array.shape for array in arrays.values())
        found.setdefault(key, OnnxModel(options.model, batch, named))
    return list(found.values())


def start(names: list[str], threads: int, versions: dict[str, str]) -> dict[str, Worker]:
    """A running worker for every rival that is installed; the others are named with the reason."""
    workers = {}
    for name in names:
        worker = Worker(name, threads)
        if "missing" in worker.hello:
            versions[name] = f"skipped: {worker.hello['missing']}"
            print(f"{name}: {versions[name]}", file=sys.stderr)
            worker.close()
        else:
            versions[name], workers[name] = worker.hello["version"], worker
    return workers


def measure_row(
    row: Row,
    workers: dict[str, Worker],
    rounds: int,
    seconds: float,
    file: dict[str, Any] | None = None,
) -> None:
    """Fills in the best time of every worker that does this task and gets it right."""
    ready = []
    for name, worker in workers.items():
        reply = worker.ask(prepare=row.task, file=file)
        if reply.get("error", 2.0) <= 1.0:
            ready.append(name)
        elif reply.get("missing") != "not offered":
            print(f"{row.task}: {name} left out: {reply}", file=sys.stderr)
    spent = 0.0
    for done in range(rounds):
        if done >= FEWEST_ROUNDS and spent > PATIENCE * rounds * seconds * len(ready):
            break
        for name in ready:
            if row.threads > 1:
                time.sleep(SETTLE)
                workers[name].ask(measure=row.task, seconds=measure.SPREAD)
            start = time.monotonic()
            reply = workers[name].ask(measure=row.task, seconds=seconds)
            spent += time.monotonic() - start
            if "time" in reply:
                row.times[name] = min(reply["time"], row.times.get(name, reply["time"]))


def limits_of(worker: Worker, threads: int) -> Limits:
    """The limits of a worker's process, with its cores and its threads."""

    def there(kind: str, size: int, seconds: float) -> float:
        if threads > 1:
            time.sleep(SETTLE)
        reply = worker.ask(limit=kind, size=size, seconds=seconds)
        return float(reply["found"])

    return Limits(threads, there, _core.cache_sizes())


def measure_between_limits(
    row: Row,
    workers: dict[str, Worker],
    found: Limits,
    options: argparse.Namespace,
    file: dict[str, Any] | None,
) -> None:
    """The row, between two measurements of what may be its limit."""
    found.sample(row.work)
    measure_row(row, workers, options.rounds, options.seconds, file)
    found.sample(row.work)
    for _ in range(CHANCES):
        row.judge(found)
        if OURS not in row.times or row.share <= limits.TOLERANCE:
            break
        found.sample(row.work)


def measure_rows(
    chosen: list[tasks.Task],
    options: argparse.Namespace,
    threads: int,
    versions: dict[str, str],
    known: dict[int, Limits],
) -> list[Row]:
    """All rows at one thread count; what becomes known of the limits is added to `known`."""
    names = [OURS, *(name for name in options.rivals if name != OURS)]
    workers, rows = start(names, threads, versions), []
    found = known[threads] = limits_of(workers[OURS], threads)
    try:
        found.overview()
        for task in chosen:
            row = Row(task.name, threads, task.work)
            file = (
                {"source": task.source, "batch": task.batch, "shapes": dict(task.shapes)}
                if (isinstance(task, OnnxModel) and task.name not in tasks.ALL)
                else None
            )
            measure_between_limits(row, workers, found, options, file)
            rows.append(row)
            print(f"{task.name}, {threads} threads ...", file=sys.stderr, flush=True)
        for row in rows:  # with the best of the run
            row.judge(found)
    finally:
        for worker in workers.values():
            worker.close()
    return rows


def run(options: argparse.Namespace) -> int:
    """Measures and prints; 2 on wrong usage.

    1 when lamella's own answer is wrong or missing, or when a limit was beaten.
    """
    if options.model:
        try:
            chosen = _of_file(options)
            options.rivals = [name for name in options.rivals if name in rivals.FILES]
        except (OSError, ValueError, TypeError, IndexError, NotImplementedError) as error:
            print(f"lamella bench: {' '.join(str(error).split())}", file=sys.stderr)
            return 2
    else:
        chosen = [task for task in tasks.ALL.values() if _is_chosen(task.name, options)]
    if not chosen:
        print(f"lamella bench: no task named like {' or '.join(options.tasks)}", file=sys.stderr)
        return 2
    versions: dict[str, str] = {}
    known: dict[int, Limits] = {}
    rows = [
        row
        for threads in options.threads
        for row in measure_rows(chosen, options, threads, versions, known)
    ]
    if wrong := [row.task for row in rows if OURS not in row.times]:
        print(f"lamella bench: no right answer from lamella for {wrong}", file=sys.stderr)
        return 1

    card = measure.machine_card()
    overviews = {threads: found.overview() for threads, found in known.items()}
    result = {
        "machine": card,
        "versions": versions,
        "limits": overviews,
        "rates": {threads: found.rates for threads, found in known.items()},
        "rows": [asdict(row) for row in rows],
    }
    if options.json == "-":
        print(json.dumps(result, indent=1))
        return beaten(rows)
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    names = [n for n in versions if n != OURS and any(n in row.times for row in rows)]
    draw = table.markdown if options.markdown else table.render
    for threads, overview in overviews.items():
        print(limits.describe(card, overview, threads), end="\n\n")
    print(draw([*HEADER, *names], [row.cells(names) for row in rows]))
    return beaten(rows)


def beaten(rows: list[Row]) -> int:
    """Names the rows that are faster than their limit allows; 1 if there are any.

    Either the limit was measured while the machine did something else, or it is none: then the
    work of the row or the kernel of the limit is wrong.
    """
    above = [row for row in rows if row.share > limits.TOLERANCE]
    for row in above:
        print(
            f"lamella bench: {row.task}, {row.threads} threads: {100.0 * row.share:.0f} % of its "
            f"limit ({row.limit_name}), which is none",
            file=sys.stderr,
        )
    return 1 if above else 0


def main() -> int:
    """The command line of the repository."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add_arguments(parser)
    return run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
