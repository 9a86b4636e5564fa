# SPDX-License-Identifier: Apache-2.0
"""How fast something is: the timer, how times and rates are written, the machine card.

The timer reports the best of many short stretches, because on a shared machine everything else
only adds to a time. How fast something could be is measured by limits.py.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

from lamella import _core

# One timed stretch lasts at least this long, so that reading the clock costs under 0.1 %.
STRETCH = 100e-6

# Seconds that several threads run before they are measured: some kernels of virtual machines lay
# threads that have slept onto one processor, and take up to 0.2 s to spread them over all.
SPREAD = 0.2


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


# Two processors of one chiplet answer each other in some 60 ns, of two chiplets in 330; where a
# virtual machine's processors lie may change from one minute to the next, and with it what a second
# thread is worth to programs of some 100 us.
_HANDSHAKE_SECONDS = 0.02


def machine_card() -> dict[str, Any]:
    """What a number has to be read with: processor, cores, caches, clock policy, versions."""
    from lamella import __version__

    build = _core.build_info()
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count() or 1,
        "usable cores": usable_cores(),
        "caches": dict(_core.cache_sizes()),
        # Seconds that a cache line takes from one thread to another and back; 0 with one core.
        "handshake": _core.measure_handshake(_HANDSHAKE_SECONDS),
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
    apart = f", {format_time(card['handshake'])} apart" if card["handshake"] else ""
    return f"{card['cpu']}, {cores} usable cores{apart}; ISA {isa}, {compiler}"
