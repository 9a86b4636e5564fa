# SPDX-License-Identifier: Apache-2.0
"""The timer, the limits and the machine card; no test depends on how fast anything is."""

from __future__ import annotations

import json
import math

import pytest

from lamella import _core
from lamella.benchmarks import measure, table

# A made-up machine: 100 GFLOP/s; l1 400/300, l2 100/80, memory 20/10 GB/s; an empty call 50 ns.
LIMITS = {
    "call": 50e-9,
    "fma": 100e9,
    "l1 bytes": 32e3,
    "l1 read": 400e9,
    "l1 copy": 300e9,
    "l2 bytes": 512e3,
    "l2 read": 100e9,
    "l2 copy": 80e9,
    "memory read": 20e9,
    "memory copy": 10e9,
}


@pytest.mark.parametrize(
    ("work", "name", "seconds"),
    [
        ((16.0, 32.0, 64.0), "call", 50e-9),
        ((1e9, 1e6, 1e6), "fma", 1e-2),
        ((100.0, 23e3, 500.0), "l1 read", 57.5e-9),
        ((2e5, 4e5 * 0.9, 1e3), "l2 read", 3.6e-6),
        ((0.0, 0.0, 80e3), "l2 copy", 1e-6),
        ((0.0, 0.0, 39e3), "l1 copy", 130e-9),
        ((0.0, 0.0, 8e6), "memory copy", 8e-4),
        ((1e3, 4e8, 1e3), "memory read", 2e-2),
    ],
)
def test_the_largest_bound_governs(
    work: tuple[float, float, float], name: str, seconds: float
) -> None:
    got, by = measure.governing_limit(work, LIMITS)
    assert math.isclose(got, seconds)
    assert by == name


def test_limits_are_measured_once() -> None:
    found = measure.limits(1)
    assert found == measure.limits(1)
    assert {"call", "fma", "memory read", "memory copy"} <= found.keys()
    assert all(math.isfinite(value) and value > 0 for value in found.values())


@pytest.mark.parametrize("kind", ["multiply_add", "read", "copy"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("size", [0, 1, 4096, 1_000_003])
def test_every_limit_kernel_gives_a_rate(isa: str, kind: str, threads: int, size: int) -> None:
    assert _core.measure_limit(kind, size, threads, 0.0) > 0


def test_a_wrong_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="expected multiply_add, read or copy"):
        _core.measure_limit("speed", 0, 1, 0.0)
    with pytest.raises(ValueError, match="at least 1"):
        _core.measure_limit("read", 0, 0, 0.0)


def test_every_call_is_timed() -> None:
    counts = {"a": 0, "b": 0}

    def counting(name: str) -> object:
        def call() -> None:
            counts[name] += 1

        return call

    times = measure.time_calls({n: counting(n) for n in counts}, rounds=2, seconds=0.0)  # type: ignore[misc]
    assert times.keys() == counts.keys()
    assert all(0 < time < math.inf for time in times.values())
    assert all(count > 2 for count in counts.values())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.1234e-9, "0.12 ns"),
        (47e-9, "47.0 ns"),
        (999.4e-9, "999 ns"),
        (999.6e-9, "1.00 us"),
        (4.719e-6, "4.72 us"),
        (99.96e-6, "100 us"),
        (0.0123, "12.3 ms"),
        (2.0, "2.00 s"),
        (3600.0, "3600 s"),
    ],
)
def test_times_have_three_digits(seconds: float, text: str) -> None:
    assert measure.format_time(seconds) == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [(12.0, "12.0 B/s"), (9.84e10, "98.4 GB/s"), (1.5e12, "1.50 TB/s"), (7e3, "7.00 kB/s")],
)
def test_rates_have_a_prefix(rate: float, text: str) -> None:
    assert measure.format_rate(rate, "B/s") == text


def test_the_card_is_plain_data() -> None:
    card = measure.machine_card()
    assert json.loads(json.dumps(card)) == card
    assert card["cpu"]
    assert card["usable cores"] >= 1
    assert card["isa"] == _core.isa()


def test_tables_line_up() -> None:
    text = table.render(["", "time"], [["a", "1 us"], ["long name", "10.5 us"]])
    assert text.splitlines() == [
        "              time",
        "---------  -------",
        "a             1 us",
        "long name  10.5 us",
    ]
