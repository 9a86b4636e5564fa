# SPDX-License-Identifier: Apache-2.0
"""The timer and the machine card; no test depends on how fast anything is."""

from __future__ import annotations

import json
import math

import pytest

from lamella import _core
from lamella.benchmarks import measure, table


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
    assert 0 <= card["handshake"] < 1e-3
    assert (card["handshake"] > 0) == (_core.num_threads() > 1)


def test_tables_line_up() -> None:
    text = table.render(["", "time"], [["a", "1 us"], ["long name", "10.5 us"]])
    assert text.splitlines() == [
        "              time",
        "---------  -------",
        "a             1 us",
        "long name  10.5 us",
    ]
