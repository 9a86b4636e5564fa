# SPDX-License-Identifier: Apache-2.0
"""What others feel of lamella: NumPy right after a call, many threads with one model, Ctrl-C.

    python benchmarks/manners.py [--rounds N] [--markdown]

A thread that spins while it waits for its next work takes a core from whoever needs one. Rates are
the best of the rounds, as everywhere in this folder, of a call after another one the best of the
rounds' medians: the best single one would be the one that met no spinning thread.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import lamella as lm

if not __package__:  # run as a script: PEP 366
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    __package__ = "benchmarks"

from . import limits, measure, rivals, table, tasks

# Long enough for the idle threads of every library to fall asleep: OpenBLAS's spin for some 100 ms.
ASLEEP = 0.25
CALLERS = 8
# One round of counting calls, and of calls in pairs.
SECONDS = 0.4
PAIRS = 100

SMALL, MEDIUM = "policy MLP 64-64-64-4, batch 1", "MLP 784-128-10, batch 64"
HEADER = ["measured", "alone", "in company", "speed kept", "good manners"]


@dataclass(frozen=True)
class Row:
    """Seconds of the same work alone and in company."""

    name: str
    alone: float
    company: float
    manners: str

    def cells(self) -> list[str]:
        return [
            self.name,
            measure.format_time(self.alone),
            measure.format_time(self.company),
            f"{self.alone / self.company:.2f}",
            self.manners,
        ]


def lamella_call(task: str, threads: int) -> Callable[[], Any]:
    """A call of the model of this task."""
    lamella: Any = rivals.load("lamella", threads)
    work = tasks.ALL[task]
    call: Callable[[], Any] = getattr(lamella, work.family)(work, work.data())
    call()
    return call


def median_after(before: Callable[[], Any], call: Callable[[], Any]) -> float:
    """Seconds of a call right after another one."""
    times = []
    for _ in range(PAIRS):
        before()
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def neighbours(rounds: int) -> Iterator[Row]:
    """NumPy products between lamella calls, and the other way round, all on all cores.

    Alone: between calls on one thread, which leave the caches in the same state but no other thread
    awake; lamella's calls between NumPy products of one row, which OpenBLAS keeps on one thread.
    """
    threads = measure.usable_cores()
    a, one_row = np.ones((256, 256), np.float32), np.ones((1, 256), np.float32)
    call = lamella_call(MEDIUM, threads)
    product, small_product = (lambda: a @ a), (lambda: one_row @ a)
    times: dict[str, list[float]] = {name: [] for name in ("n1", "n", "l1", "l")}
    for _ in range(rounds):
        time.sleep(ASLEEP)
        call = lamella_call(MEDIUM, 1)
        times["n1"].append(median_after(call, product))
        call = lamella_call(MEDIUM, threads)
        times["n"].append(median_after(call, product))
        times["l"].append(median_after(product, call))
        time.sleep(ASLEEP)
        times["l1"].append(median_after(small_product, call))
    best = {name: min(found) for name, found in times.items()}
    team = f"{threads} threads each"
    yield Row(f"NumPy product 256x256x256 after a call, {team}", best["n1"], best["n"], "1.00")
    yield Row(f"{MEDIUM} after a NumPy product, {team}", best["l1"], best["l"], "NumPy's")


def awake_after(call: Callable[[], Any], rounds: int) -> float:
    """Seconds of processor time that this process uses in the 0.1 s after a call, doing nothing."""
    times = []
    for _ in range(rounds):
        time.sleep(ASLEEP)
        call()
        start = time.process_time()
        time.sleep(0.1)
        times.append(time.process_time() - start)
    return statistics.median(times)


def until_interrupted(rounds: int) -> float:
    """Seconds from SIGINT to the end of `fit`, the longest of the rounds, with a large net."""
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((2560, 784), np.float32), rng.integers(0, 10, 2560)
    net = lm.nn.Sequential(
        *(lm.nn.Linear(784, 1024), lm.nn.ReLU(), lm.nn.Linear(1024, 1024), lm.nn.ReLU()),
        lm.nn.Linear(1024, 10),
    )
    loss, optimizer = lm.nn.CrossEntropyLoss(), lm.optim.Adam(net.parameters())
    sent = 0.0

    def interrupt() -> None:
        nonlocal sent
        sent = time.perf_counter()
        signal.raise_signal(signal.SIGINT)

    class Begun(lm.train.Callback):
        def on_epoch_begin(self, fit: Any) -> None:
            if fit.epoch == 1:  # compiled by then
                threading.Timer(SECONDS * rng.uniform(), interrupt).start()

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    longest = 0.0
    try:
        for _ in range(rounds):
            try:
                lm.fit(
                    net, x, t, loss=loss, optimizer=optimizer, batch_size=256, epochs=10**9,
                    callbacks=Begun(),
                )  # fmt: skip
            except KeyboardInterrupt:
                longest = max(longest, time.perf_counter() - sent)
    finally:
        signal.signal(signal.SIGINT, before)
    return longest


@contextmanager
def cores(count: int) -> Iterator[None]:
    """This thread, and those it starts, on so many cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def seconds_per_call(call: Callable[[], Any], callers: int) -> float:
    """Wall-clock seconds per call when so many Python threads call for SECONDS."""
    counts, stop = [0] * callers, threading.Event()
    start = threading.Barrier(callers + 1)

    def work(index: int) -> None:
        start.wait()
        while not counts[index] or not stop.is_set():
            call()
            counts[index] += 1

    team = [threading.Thread(target=work, args=(index,)) for index in range(callers)]
    for member in team:
        member.start()
    start.wait()
    begin = time.perf_counter()
    time.sleep(SECONDS)
    stop.set()
    for member in team:
        member.join()
    return (time.perf_counter() - begin) / sum(counts)


def many_callers(task: str, on: int, threads: int, rounds: int, manners: str) -> Row:
    """One model called by one Python thread, and by CALLERS of them at once."""
    call = lamella_call(task, threads)
    alone = company = float("inf")
    with cores(on):
        for _ in range(rounds):
            alone = min(alone, seconds_per_call(call, 1))
            company = min(company, seconds_per_call(call, CALLERS))
    where = "1 core" if on == 1 else f"{on} cores, {threads} threads a call"
    return Row(f"{CALLERS} callers of one model, {where}: {task}", alone, company, manners)


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    options = parser.parse_args()
    rows = [many_callers(task, 1, 1, options.rounds, ">= 0.95") for task in (SMALL, MEDIUM)]
    if measure.usable_cores() > 1:
        rows.append(many_callers(MEDIUM, 2, 1, options.rounds, "2.00"))
        rows.append(many_callers(MEDIUM, 2, 2, options.rounds, ">= 0.95"))
        rows += neighbours(options.rounds)
    call, a = lamella_call(MEDIUM, measure.usable_cores()), np.ones((256, 256), np.float32)
    idle = [awake_after(call, options.rounds), awake_after(lambda: a @ a, options.rounds)]
    stopped = measure.format_time(until_interrupted(options.rounds))
    draw = table.markdown if options.markdown else table.render
    print(limits.describe(measure.machine_card(), limits.of(1).overview(), 1), end="\n\n")
    print(draw(HEADER, [row.cells() for row in rows]), end="\n\n")
    ours, numpys = map(measure.format_time, idle)
    print(f"processor time used in 100 ms after a call: lamella {ours}, NumPy {numpys}")
    print(f"from Ctrl-C to the end of fit, 784-1024-1024-10, batch 256: {stopped} at most")
    return 0


if __name__ == "__main__":
    sys.exit(main())
