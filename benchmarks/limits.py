# SPDX-License-Identifier: Apache-2.0
"""How fast a machine could do some work: limits that are measured when the work is.

Never looked up: multiply-adds a second, an empty call from Python, and bytes a second that can be
read, written, copied or updated in place by a loop that does nothing else, over exactly as many
bytes as the work goes through. So they hold for this machine in its present state, for data that
fit into a cache, and for those that half stay in it from one call to the next. A limit may be
measured any number of times; the best counts, since everything else only lowers a rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from lamella import _core

from .measure import SPREAD, describe_machine, format_rate, format_time, time_call
from .tasks.work import Work

# One measurement of a limit takes so long.
SECONDS = 0.06

# Caches, nearest first, and bytes beyond every one.
LEVELS = ("l1", "l2", "l3")
MEMORY_BYTES = 256 * 2**20

# What moves less than this share of the bytes that a call goes through is no limit of it.
LEAST_SHARE = 0.25
# A limit that allows less than this share of the governing one's time needs no other look.
NEAR = 0.5
# Where a size was not measured itself, one that is at most so much smaller stands for it: its rate
# may be higher, which leaves it a limit.
STEP = 2.0**0.5

# A time may be this much below its limit, as both are measured; beyond, the limit is none.
TOLERANCE = 1.03


class Probe(Protocol):
    """Measures one limit once: operations or bytes a second, or the seconds of a `call`."""

    def __call__(self, kind: str, size: int, seconds: float) -> float:
        """kind: multiply_add, multiply_add_bytes, call; read, write, copy, update of so many."""


def probe(threads: int, kind: str, size: int, seconds: float) -> float:
    """A limit of this process, with a team of so many threads."""
    if kind == "call":
        x = np.zeros(8, np.float32)
        return time_call(lambda: callable(x), seconds)
    if threads > 1:
        _core.measure_limit("multiply_add", 0, threads, SPREAD)
    return _core.measure_limit(kind, size, threads, seconds)


class Limits:
    """The limits of `threads` cores together, as far as they were asked for."""

    def __init__(self, threads: int, probe: Probe, caches: Mapping[str, int]) -> None:
        self.threads, self._probe, self._caches = threads, probe, caches
        # Rates by kind and size, the best of all measurements.
        self.rates: dict[str, dict[int, float]] = {}
        self._call = float("inf")

    @property
    def call(self) -> float:
        """The seconds of an empty call from Python."""
        if self._call == float("inf"):
            self.measure("call")
        return self._call

    def measure(self, kind: str, size: int = 0, seconds: float = SECONDS) -> None:
        """Measures a limit once more; what is known becomes better or stays."""
        found = self._probe(kind, size, seconds)
        if kind == "call":
            self._call = min(self._call, found)
        else:
            known = self.rates.setdefault(kind, {})
            known[size] = max(found, known.get(size, 0.0))

    def rate(self, kind: str, size: int) -> float:
        """The best rate known for so many bytes or more, as fewer bytes are never slower."""
        known = self.rates.get(kind, {})
        below = [one for one in known if one <= size <= one * STEP]
        if not below:
            grid = round_down(size)
            self.measure(kind, grid)
            return self.rate(kind, size)
        nearest = max(below)
        return max(rate for one, rate in known.items() if one >= nearest)

    def sample(self, work: Work, seconds: float = SECONDS) -> None:
        """Measures what may govern this work, over just as many bytes.

        To be called right before and right after the work is measured.
        """
        sizes = {kind: _size(kind, work) for kind in _kinds(work)}
        new = [kind for kind, size in sizes.items() if size not in self.rates.get(kind, {})]
        for kind in new:
            self.measure(kind, sizes[kind], seconds)
        bounds = self.bounds(work)
        near = NEAR * max(bounds.values())
        for kind, size in sizes.items():
            if kind not in new and bounds[kind] >= near:
                self.measure(kind, size, seconds)

    def bounds(self, work: Work) -> dict[str, float]:
        """The shortest time that each limit allows, by kind."""
        amounts = {**_computed(work), **work.traffic()}
        kinds = _kinds(work)
        bounds = {kind: amounts[kind] / self.rate(kind, _size(kind, work)) for kind in kinds}
        return {"call": self.call, **bounds}

    def governing(self, work: Work, call: float | None = None) -> tuple[float, str]:
        """The shortest possible time of `work` on this machine, and what sets it.

        call: seconds that stand for an empty call. The work overlaps at best, so the largest of all
        bounds governs.
        """
        bounds = self.bounds(work)
        if call is not None:
            bounds["call"] = call
        kind = max(bounds, key=bounds.__getitem__)
        names = {"call": "call", "multiply_add": "fma", "multiply_add_bytes": "fma of bytes"}
        return bounds[kind], names.get(kind) or f"{self._level(int(work.reach))} {kind}"

    def _level(self, size: int) -> str:
        """The nearest cache that holds so many bytes, or memory."""
        return next((name for name, held in self._held() if size <= held), "memory")

    def _held(self) -> list[tuple[str, int]]:
        # The last level is shared, the others belong to a core.
        sizes = ((name, self._caches.get(name, 0)) for name in LEVELS)
        return [(n, size * (1 if n == "l3" else self.threads)) for n, size in sizes if size]

    def overview(self) -> dict[str, float]:
        """The machine at a glance: rates at half of each cache, and far beyond all.

        `fma` in operations a second (a multiply-add counts as two); `l1 read`, `l1 copy`, ...,
        `memory copy` in bytes a second (a copy counts the byte read and the byte written);
        `l1 bytes`, ... the sizes; `call` the seconds of an empty call from Python.
        """
        found = {"call": self.call, "fma": self.rate("multiply_add", 0)}
        places = [*((name, size, size // 2) for name, size in self._held()),
                  ("memory", 0, MEMORY_BYTES)]  # fmt: skip
        for name, size, span in places:
            if size:
                found[f"{name} bytes"] = float(size)
            for kind in ("read", "copy"):
                found[f"{name} {kind}"] = self.rate(kind, span)
        return found


def _kinds(work: Work) -> list[str]:
    """What may be a limit of this work."""
    least = LEAST_SHARE * work.reach
    kinds = [kind for kind, moved in work.traffic().items() if moved and moved >= least]
    return [*(kind for kind, amount in _computed(work).items() if amount), *kinds]


def _computed(work: Work) -> dict[str, float]:
    """Operations by kind of limit."""
    return {"multiply_add": work.operations, "multiply_add_bytes": work.byte_operations}


def _size(kind: str, work: Work) -> int:
    """Over how many bytes this kind of limit is measured."""
    return 0 if kind in _computed(work) else int(work.reach)


def round_down(size: int) -> int:
    """The next size of a grid that has two in every doubling."""
    grid = 1
    while grid * STEP <= size:
        grid = int(np.ceil(grid * STEP))
    return grid if size else 0


@lru_cache(maxsize=8)
def of(threads: int) -> Limits:
    """The limits of this process, the same object every time."""

    def here(kind: str, size: int, seconds: float) -> float:
        return probe(threads, kind, size, seconds)

    return Limits(threads, here, _core.cache_sizes())


def describe(card: Mapping[str, Any], overview: Mapping[str, float], threads: int) -> str:
    """The machine and its limits in two lines."""
    rate = format_rate
    levels = [name for name in (*LEVELS, "memory") if f"{name} read" in overview]
    reads = ", ".join(f"{name} {rate(overview[f'{name} read'], 'B/s')}" for name in levels)
    return (
        f"{describe_machine(card)}\n"
        f"limits of {threads} in use: {rate(overview['fma'], 'FLOP/s')} of multiply-adds; "
        f"reading {reads}; memory copy {rate(overview['memory copy'], 'B/s')}; "
        f"empty call {format_time(overview['call'])}"
    )
