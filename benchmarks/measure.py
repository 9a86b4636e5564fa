# SPDX-License-Identifier: Apache-2.0
"""How fast something is, and how fast it could be: the timer, the limits, the machine card.

The timer reports the best of many short stretches, because on a shared machine everything else
only adds to a time. Limits are measured, never looked up: multiply-adds a second, bytes a second
out of each cache level and out of memory, and the cost of an empty call from Python. They come
from lamella's own limit kernels in the same process, so they hold for this machine in its present
state.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

from lamella import _core

# One timed stretch lasts at least this long, so that reading the clock costs under 0.1 %.
STRETCH = 100e-6

# A limit is the best rate found in this time.
LIMIT_SECONDS = 0.15

# Seconds that several threads run before they are measured: some kernels of virtual machines lay
# threads that have slept onto one processor, and take up to 0.2 s to spread them over all.
SPREAD = 0.2

# Caches, nearest first. Data somewhat larger than a level still hits it often: a limit has to be
# one, so it is the faster level's up to this ratio.
LEVELS = ("l1", "l2", "l3")
SHARE = 1.25

# Bytes beyond every cache, at which memory itself is measured.
MEMORY_BYTES = 256 * 2**20


def repeats_for_stretch(call: Callable[[], Any]) -> int:
    """How often `call` has to be repeated to fill one stretch."""
    clock, count = time.perf_counter, 1
    call()  # the first one may compile, and says nothing of the others
    while True:
        start = clock()
        for _ in repeat(None, count):
            call()
        if clock() - start >= STRETCH:
            return count
        count *= 2


def time_call(call: Callable[[], Any], seconds: float, count: int | None = None) -> float:
    """Seconds per call: the best stretch of those that fit into `seconds`, at least one."""
    clock = time.perf_counter
    count = count or repeats_for_stretch(call)
    best, end = float("inf"), clock() + seconds
    while True:
        start = clock()
        for _ in repeat(None, count):
            call()
        stop = clock()
        best = min(best, (stop - start) / count)
        if stop >= end:
            return best


def time_calls(
    calls: Mapping[str, Callable[[], Any]], *, rounds: int = 9, seconds: float = 0.02
) -> dict[str, float]:
    """Seconds per call of each: the rounds are interleaved, so that all meet the same machine."""
    counts = {name: repeats_for_stretch(call) for name, call in calls.items()}
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            best[name] = min(best[name], time_call(call, seconds, counts[name]))
    return best


def time_bursts(call: Callable[[], Any], count: int, idle: float, busy: float) -> list[list[float]]:
    """Seconds of every call of `count` bursts of `busy` seconds, each after `idle` seconds."""
    clock, bursts = time.perf_counter, []
    for _ in range(count):
        time.sleep(idle)
        burst, start = [], clock()
        end = start + busy
        while True:
            call()
            stop = clock()
            burst.append(stop - start)
            if stop >= end:
                break
            start = clock()
        bursts.append(burst)
    return bursts


def of_bursts(bursts: list[list[float]]) -> dict[str, float]:
    """Median and 90th percentile of all calls, and the median of the first ones of the bursts."""
    times = np.concatenate(bursts)
    return {
        "median": float(np.median(times)),
        "percentile90": float(np.quantile(times, 0.9)),
        "first": float(np.median([burst[0] for burst in bursts])),
    }


def _empty_call() -> float:
    x = np.zeros(8, np.float32)
    return time_call(lambda: callable(x), LIMIT_SECONDS)


@lru_cache(maxsize=8)
def _measured(threads: int) -> tuple[tuple[str, float], ...]:
    sizes = _core.cache_sizes()
    if threads > 1:
        _core.measure_limit("multiply_add", 0, threads, SPREAD)
    found = {
        "call": _empty_call(),
        "fma": _core.measure_limit("multiply_add", 0, threads, LIMIT_SECONDS),
    }
    nearer = 0
    for level in LEVELS:
        if size := sizes.get(level, 0):
            # The last level is shared, the others belong to a core.
            size = size if level == "l3" else size * threads
            found[f"{level} bytes"] = float(size)
            # Data that just leave the level above, and data that fill half of this one.
            spans = {min(2 * nearer, size // 2), size // 2} - {0}
            for kind in ("read", "copy"):
                found[f"{level} {kind}"] = max(
                    _core.measure_limit(kind, span, threads, LIMIT_SECONDS) for span in spans
                )
            nearer = size
    for kind in ("read", "copy"):
        rate = _core.measure_limit(kind, MEMORY_BYTES, threads, 2 * LIMIT_SECONDS)
        found[f"memory {kind}"] = rate
    return tuple(found.items())


def limits(threads: int) -> dict[str, float]:
    """The limits of `threads` cores together, measured once per process.

    `fma` in operations a second (a multiply-add counts as two); `l1 read`, `l1 copy`, ...,
    `memory copy` in bytes a second (a copy counts the byte read and the byte written);
    `l1 bytes`, ... the sizes; `call` the seconds of an empty call from Python.
    """
    return dict(_measured(threads))


def governing_limit(
    work: tuple[float, float, float], limits: Mapping[str, float]
) -> tuple[float, str]:
    """The shortest possible time of `work` on this machine, and what sets it.

    work: floating-point operations, bytes of weights or operands read, bytes streamed in and out.
    The three overlap at best, so the largest of them governs.
    """
    operations, read, streamed = work
    level = next(
        (
            name
            for name in LEVELS
            if f"{name} bytes" in limits and read + streamed <= SHARE * limits[f"{name} bytes"]
        ),
        "memory",
    )
    bounds = {
        "call": limits["call"],
        "fma": operations / limits["fma"],
        f"{level} read": read / limits[f"{level} read"],
        f"{level} copy": streamed / limits[f"{level} copy"],
    }
    name = max(bounds, key=bounds.__getitem__)
    return bounds[name], name


def format_time(seconds: float) -> str:
    """Three digits and a unit: 4.72 us."""
    for unit, scale in (("ns", 1e9), ("us", 1e6), ("ms", 1e3)):
        value = seconds * scale
        if value < 999.5:
            return f"{_three_digits(value)} {unit}"
    return f"{_three_digits(seconds)} s"


def _three_digits(value: float) -> str:
    return (
        f"{value:.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"
    )


def format_rate(per_second: float, unit: str) -> str:
    """Three digits, a prefix and the unit: 98.3 GFLOP/s."""
    for prefix, scale in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if per_second >= scale:
            return f"{_three_digits(per_second / scale)} {prefix}{unit}"
    return f"{_three_digits(per_second)} {unit}"


def _first_line(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8").strip().partition("\n")[0] or None
    except OSError:
        return None


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def machine_card() -> dict[str, Any]:
    """What a number has to be read with: processor, cores, caches, clock policy, versions."""
    from lamella import __version__

    build = _core.build_info()
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count() or 1,
        "usable cores": usable_cores(),
        "caches": dict(_core.cache_sizes()),
        "governor": _first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "system": f"{platform.system()} {platform.release()}",
        "isa": _core.isa(),
        "compiler": build.get("compiler"),
        "threads": build.get("backend"),
        "python": sys.version.partition(" ")[0],
        "numpy": np.__version__,
        "lamella": __version__,
    }


def usable_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0))


def describe_machine(card: Mapping[str, Any]) -> str:
    """The machine in one line."""
    cores, isa, compiler = (card[name] for name in ("usable cores", "isa", "compiler"))
    return f"{card['cpu']}, {cores} usable cores; ISA {isa}, {compiler}"


def describe(card: Mapping[str, Any], limits: Mapping[str, float], threads: int) -> str:
    """The machine and its measured limits in two lines."""
    rate = format_rate
    levels = [name for name in (*LEVELS, "memory") if f"{name} read" in limits]
    reads = ", ".join(f"{name} {rate(limits[f'{name} read'], 'B/s')}" for name in levels)
    return (
        f"{describe_machine(card)}\n"
        f"limits of {threads} in use: {rate(limits['fma'], 'FLOP/s')} of multiply-adds; "
        f"reading {reads}; "
        f"memory copy {rate(limits['memory copy'], 'B/s')}; "
        f"empty call {format_time(limits['call'])}"
    )
