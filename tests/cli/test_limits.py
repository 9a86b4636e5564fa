# SPDX-License-Identifier: Apache-2.0
"""Limits on a made-up machine: which bytes count, what is measured when, what a beaten one does."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import pytest

from lamella import _core, cli
from lamella.benchmarks import limits, run, tasks
from lamella.benchmarks.limits import Limits
from lamella.benchmarks.tasks.work import Work

CACHES = {"l1": 32_000, "l2": 512_000}
# Bytes a second: 400/300 in l1, 100/80 in l2, 20/10 in memory. A write fetches its line first.
RATES = {
    "read": (400e9, 100e9, 20e9),
    "write": (300e9, 60e9, 8e9),
    "copy": (300e9, 80e9, 10e9),
    "update": (400e9, 100e9, 20e9),
}


class Machine:
    """Answers as a machine would, and remembers what it was asked; `busy` slows it down."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.busy = 1.0

    def __call__(self, kind: str, size: int, seconds: float) -> float:
        self.asked.append((kind, size))
        if kind == "call":
            return 50e-9 * self.busy
        if kind == "multiply_add":
            return 100e9 / self.busy
        return RATES[kind][(size > CACHES["l1"]) + (size > CACHES["l2"])] / self.busy


def known(machine: Machine | None = None) -> Limits:
    return Limits(1, machine or Machine(), CACHES)


@pytest.mark.parametrize(
    ("work", "name", "seconds"),
    [
        (Work(16.0, 32.0, 64.0), "call", 50e-9),
        (Work(1e9, 1e6, 1e6), "fma", 1e-2),
        (Work(100.0, 23e3, 500.0), "l1 read", 57.5e-9),
        (Work(2e5, 4e5, 1e3), "l2 read", 4e-6),
        (Work(0.0, 4e4, 4e4), "l2 copy", 1e-6),
        (Work(0.0, 4e6, 4e6), "memory copy", 8e-4),
        (Work(1e3, 4e8, 1e3), "memory read", 2e-2),
        # A product with a large result writes more than it reads, and fetches what it writes.
        (Work(1e3, 1e5, 8e6), "memory write", 1e-3),
        # Read once and written once, no second line: 16 MB at 20 GB/s.
        (Work(0.0, updated=8e6), "memory update", 8e-4),
        # Gone through ten times, each time out of l2.
        (Work(0.0, updated=4e6, span=4e5), "l2 update", 8e-5),
    ],
)
def test_the_largest_bound_governs(work: Work, name: str, seconds: float) -> None:
    found = known()
    found.sample(work)
    got, by = found.governing(work)
    assert math.isclose(got, seconds)
    assert by == name


def test_a_limit_is_measured_over_just_as_many_bytes() -> None:
    machine = Machine()
    found = known(machine)
    # Whoever measures half of the cache instead, or far beyond it, finds another rate.
    found.sample(Work(0.0, 256_001.0, 256_001.0))
    assert ("copy", 512_002) in machine.asked
    assert found.governing(Work(0.0, 256_001.0, 256_001.0))[1] == "memory copy"
    machine.asked.clear()
    found.sample(Work(0.0, 255_000.0, 255_000.0))
    assert ("copy", 510_000) in machine.asked
    assert found.governing(Work(0.0, 255_000.0, 255_000.0))[1] == "l2 copy"


def test_the_best_measurement_counts() -> None:
    machine, work = Machine(), Work(0.0, 4e6, 4e6)
    found = known(machine)
    for busy, seconds in ((4.0, 32e-4), (2.0, 16e-4), (3.0, 16e-4), (1.0, 8e-4), (9.0, 8e-4)):
        machine.busy = busy
        found.sample(work)
        assert math.isclose(found.governing(work)[0], seconds)
    # What was moved in a quiet moment from further away can be moved from here.
    machine.busy = 100.0
    assert math.isclose(found.governing(Work(0.0, 3e6, 3e6))[0], 6e6 / 10e9)


def test_only_what_may_govern_is_measured_again() -> None:
    machine = Machine()
    found = known(machine)
    work = Work(1e9, 1e6, 1e6)  # 10 ms of multiply-adds, 0.2 ms of copying
    found.sample(work)
    machine.asked.clear()
    found.sample(work)
    assert machine.asked == [("multiply_add", 0)]
    # 1 % of what is read is written: no limit of a product with large weights.
    machine.asked.clear()
    found.sample(Work(0.0, 1e8, 1e6))
    assert {kind for kind, _ in machine.asked} == {"read"}


def test_sizes_that_were_not_measured_are_near_one_that_was() -> None:
    machine = Machine()
    found = known(machine)
    for size in (0, 1, 5, 1000, 31_999, 32_001, 10**9):
        assert limits.round_down(size) <= size <= limits.round_down(size) * limits.STEP
        found.rate("read", size)
    asked = len(machine.asked)
    for size in (0, 1, 5, 1000, 31_999, 32_001, 10**9):
        found.rate("read", size)
    assert len(machine.asked) == asked


def test_threads_have_caches_of_their_own_and_share_the_last() -> None:
    found = Limits(2, Machine(), {**CACHES, "l3": 1_000_000})
    overview = found.overview()
    assert [overview[f"{name} bytes"] for name in limits.LEVELS] == [64_000, 1_024_000, 1_000_000]
    assert {"call", "fma", "l1 read", "l3 copy", "memory read", "memory copy"} <= overview.keys()
    assert "memory bytes" not in overview


def test_limits_of_this_process() -> None:
    found = limits.of(1)
    assert found is limits.of(1)
    assert all(math.isfinite(v) and v > 0 for v in (found.call, found.rate("copy", 8192)))


@pytest.mark.parametrize("kind", ["multiply_add", "read", "write", "copy", "update"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("size", [0, 1, 4096, 1_000_003])
def test_every_limit_kernel_gives_a_rate(isa: str, kind: str, threads: int, size: int) -> None:
    assert _core.measure_limit(kind, size, threads, 0.0) > 0


def test_a_wrong_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="expected multiply_add, multiply_add_bytes, read"):
        _core.measure_limit("speed", 0, 1, 0.0)
    with pytest.raises(ValueError, match="at least 1"):
        _core.measure_limit("read", 0, 0, 0.0)


@pytest.mark.parametrize(
    ("task", "work"),
    [
        # The weights are read, the rows read and written.
        ("dense 512-512, batch 64", Work(2.0 * 64 * 512**2, 4.0 * (512**2 + 64 * 512), 131072.0)),
        # A product reads both factors: no copy of a matrix that is only read.
        ("matmul 1x4096x4096", Work(2.0 * 4096**2, 4.0 * (4096**2 + 4096), 4.0 * 4096)),
        ("relu 8M", Work(0.0, 32e6, 32e6)),
        ("softmax 1024x1000", Work(0.0, 4.096e6, 4.096e6)),
        ("sum rows 1024x1000", Work(0.0, 4.096e6)),
        # Weights and two moments, in place; no gradient has to leave the cache.
        (
            "train 20-64-64-2, Adam, batch 32",
            Work(2.0 * 32 * (3 * 5504 - 1280), 2560.0, updated=12.0 * 5504),
        ),
    ],
)
def test_the_bytes_of_a_row_are_those_that_have_to_move(task: str, work: Work) -> None:
    assert tasks.ALL[task].work == work


# The runner, with times and limits that are made up


def bench(
    monkeypatch: pytest.MonkeyPatch, times: Callable[[int], float], machine: Machine, *more: str
) -> int:
    """`lamella bench` of relu 1M, whose limit here is 0.8 ms; times(n) is its n-th measurement."""
    count = [0]

    class Fake:
        def __init__(self, name: str, threads: int) -> None:
            self.hello = {"version": "0"}

        def ask(self, **command: object) -> dict[str, float]:
            if "limit" in command:
                return {"found": machine(command["limit"], command["size"], 0.0)}  # type: ignore[arg-type]
            if "prepare" in command:
                return {"error": 0.0}
            count[0] += 1
            return {"time": times(count[0])}

        def close(self) -> None:
            pass

    monkeypatch.setattr(run, "Worker", Fake)
    monkeypatch.setattr(_core, "cache_sizes", lambda: CACHES)
    few = ("--rivals", "--threads", "1", "--rounds", "2")
    return cli.main(["bench", "--tasks", "relu 1M", *few, *more])


def test_a_beaten_limit_fails_the_benchmark(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for seconds, status in ((8.1e-4, 0), (7.8e-4, 0), (7.7e-4, 1)):
        assert bench(monkeypatch, lambda n, s=seconds: s, Machine()) == status
        printed = capsys.readouterr()
        assert f"{8e-4 / seconds:.0%}"[:-1] in printed.out
        named = "relu 1M, 1 threads: 104 % of its limit (memory copy)" in printed.err
        assert named == bool(status)
    assert bench(monkeypatch, lambda n: 4e-4, Machine(), "--json", "-") == 1
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert (row["limit"], row["limit_name"]) == (8e-4, "memory copy")


def test_a_limit_that_was_measured_in_a_bad_moment_has_more_chances(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Waking(Machine):
        """Busy until it has been asked for copies a few times."""

        def __call__(self, kind: str, size: int, seconds: float) -> float:
            self.busy = 4.0 if sum(one == "copy" for one, _ in self.asked) < 8 else 1.0
            return super().__call__(kind, size, seconds)

    machine = Waking()
    assert bench(monkeypatch, lambda n: 8.1e-4, machine) == 0
    before = machine.asked.count(("copy", 8_000_000))
    assert before >= 4
    # One that is not beaten needs no more than two looks, before and after.
    calm = Machine()
    assert bench(monkeypatch, lambda n: 9e-4, calm) == 0
    assert calm.asked.count(("copy", 8_000_000)) == 2


def test_limits_are_those_of_lamellas_process() -> None:
    worker = run.Worker(run.OURS, 1)
    try:
        found = run.limits_of(worker, 1)
        found.sample(tasks.ALL["relu 10k"].work, 0.0)
        assert found.rates["copy"].keys() == {80_000}
        assert found.rates["copy"][80_000] > 0
        assert 0 < found.call < 1
    finally:
        worker.close()
