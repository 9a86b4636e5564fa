# SPDX-License-Identifier: Apache-2.0
"""The one cache: what is kept, what goes, who is told; under budgets that are nearly nothing."""

from __future__ import annotations

import gc
import os
import sys
import threading
import traceback
import warnings
import weakref

import numpy as np
import pytest

import lamella as lm
from comparators import same_bits
from lamella import functional as F
from lamella import nn
from lamella.runtime import programs
from lamella.runtime.programs import Programs


@pytest.fixture(autouse=True)
def _budget():
    """An empty cache, and the budget put back."""
    before = programs.limit()
    programs.clear()
    yield
    programs.set_limit(before)
    programs.clear()


class Interrupted(BaseException):
    pass


class Owner:
    def __init__(self) -> None:
        self.forgotten = 0
        self.table = Programs[object]("Owner", weakref.ref(self))

    def _forget(self) -> None:
        self.forgotten += 1

    def keys(self) -> list[object]:
        return [entry.key for entry in self.table]


def test_the_least_recently_used_goes_first():
    programs.set_limit(100)
    a, b = Owner(), Owner()
    for key in range(3):
        a.table.put(key, object(), 20)
        b.table.put(key, object(), 10)
    assert programs.held() == (6, 90)
    assert a.table.get(0).key == 0
    b.table.put("new", object(), 40)  # b0 and a1 go
    assert (a.keys(), b.keys()) == ([0, 2], [1, 2, "new"])
    assert programs.held() == (5, 100)
    assert a.table.get(1) is None
    a.table.clear()
    assert programs.held() == (3, 60)


def test_replacing_and_growing_count():
    programs.set_limit(100)
    owner = Owner()
    first = owner.table.put("a", 1, 30)
    second = owner.table.put("a", 2, 50)
    assert not first.kept
    assert second.kept
    assert owner.table.get("a").value == 2
    assert programs.held() == (1, 50)
    owner.table.put("b", 3, 40)
    owner.table.change(second, 70)  # used now: b has to go
    assert owner.keys() == ["a"]
    assert programs.held() == (1, 70)


def test_owners_forget_what_goes_and_what_has_aged():
    programs.set_limit(800)
    quiet, busy = Owner(), Owner()
    entry = quiet.table.put("q", object(), 100)
    for key in range(6):
        busy.table.put(key, object(), 100)
    assert (quiet.forgotten, busy.forgotten) == (0, 0)
    busy.table.put(6, object(), 100)  # 7/8 are younger than q
    assert entry.kept
    assert quiet.forgotten == 1
    assert quiet.table.get("q") is entry  # it came by: something of busy has aged instead
    assert busy.forgotten == 1
    busy.table.put(7, object(), 100)
    assert entry.kept
    assert busy.keys() == [1, 2, 3, 4, 5, 6, 7]
    for key in range(8, 14):
        busy.table.put(key, object(), 100)
    assert entry.kept
    busy.table.put(14, object(), 100)
    assert not entry.kept
    assert quiet.forgotten >= 2
    assert len(quiet.table) == 0


def test_nothing_is_kept_of_nothing():
    programs.set_limit(0)
    owner = Owner()
    entry = owner.table.put("a", 1, 10)
    assert not entry.kept
    assert entry.value == 1
    assert programs.held() == (0, 0)
    programs.set_limit(100)
    assert owner.table.put("a", 1, 10).kept
    assert not owner.table.put("b", 1, 1000).kept
    programs.set_limit(5)
    assert programs.held() == (0, 0)


def test_entries_die_with_their_owner():
    owner = Owner()
    value = nn.Identity()
    seen = weakref.ref(value)
    owner.table.put("a", value, 10)
    other = Owner()
    other.table.put("b", object(), 20)
    del value, owner
    gc.collect()
    assert seen() is None
    assert programs.held() == (1, 20)


def test_one_warning_for_what_is_made_again():
    programs.set_limit(100)
    owner = Owner()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for key in range(20):
            owner.table.put(key, object(), 30)
        with pytest.raises(RuntimeWarning, match=r"Owner: compiled again .* 100 bytes"):
            owner.table.put(3, object(), 30)
        for key in range(20):
            owner.table.put(key, object(), 30)
        programs.set_limit(90)
        for key in range(10):
            owner.table.put(key, object(), 30)
        with pytest.raises(RuntimeWarning):
            owner.table.put(0, object(), 30)


def test_clearing_is_no_eviction():
    programs.set_limit(1000)
    owner = Owner()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            for key in range(5):
                owner.table.put(key, object(), 30)
            programs.clear()
            assert len(owner.table) == 0
    assert owner.forgotten == 15


def test_threads():
    """Sums stay sums when many put, use and lose at once."""
    programs.set_limit(1000)
    owners = [Owner() for _ in range(4)]

    def work(number: int) -> None:
        rng = np.random.default_rng(number)
        for _ in range(2000):
            owner = owners[rng.integers(4)]
            key = int(rng.integers(40))
            if owner.table.get(key) is None or rng.random() < 0.2:
                owner.table.put(key, object(), int(rng.integers(1, 60)))
            if rng.random() < 0.01:
                owner.table.clear()

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    gc.collect()
    entries = [entry for owner in owners for entry in owner.table]
    assert programs.held() == (len(entries), sum(entry.nbytes for entry in entries))
    assert programs.held()[1] <= 1000
    assert all(entry.kept for entry in entries)


def test_an_interrupt_leaves_no_lock():
    """Wherever one is raised between two lines, other threads go on."""
    programs.set_limit(100)
    owner, raised = Owner(), 0

    for line in range(60):
        count = 0

        def trace(frame, event, argument):
            nonlocal count
            if frame.f_code.co_filename != programs.__file__:
                return None
            if event == "line":
                count += 1
                if count > line:  # noqa: B023
                    sys.settrace(None)
                    raise Interrupted
            return trace

        sys.settrace(trace)
        try:
            owner.table.put(line, object(), 30)
        except Interrupted:
            raised += 1
        finally:
            sys.settrace(None)
        worker = threading.Thread(target=owner.table.put, args=("other", object(), 30))
        worker.start()
        worker.join(20)
        assert not worker.is_alive()
    assert raised > 20
    programs.set_limit(90)
    assert programs.held()[1] <= 90


def in_a_child(check) -> None:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            check()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_fork_finds_it_whole():
    """Whatever other threads are at, the child has the bytes that its entries have."""
    owners = [Owner() for _ in range(3)]
    programs.set_limit(500)
    stop = threading.Event()

    def work(owner: Owner) -> None:
        key = 0
        while not stop.is_set():
            key += 1
            owner.table.put(key, object(), 7)

    def check() -> None:
        entries = [entry for owner in owners for entry in owner.table if entry.number]
        count, nbytes = programs.held()
        assert nbytes == 7 * count <= 500
        assert len(entries) >= count
        same_bits(nn.ReLU()(np.float32([-1, 2])), np.float32([0, 2]))

    workers = [threading.Thread(target=work, args=(owner,)) for owner in owners]
    for worker in workers:
        worker.start()
    try:
        for _ in range(5):
            in_a_child(check)
    finally:
        stop.set()
        for worker in workers:
            worker.join()


def test_a_fork_while_a_module_compiles():
    """The child does not wait for a thread that it does not have."""
    inside, go_on = threading.Event(), threading.Event()

    class Slow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(2, 2)

        def forward(self, x):
            if x.shape[0] == 2:
                inside.set()
                go_on.wait()
            return self.fc(x)

    net, x = Slow(), np.ones((1, 2), np.float32)
    before = net(x).copy()
    worker = threading.Thread(target=net, args=(np.ones((2, 2), np.float32),))
    worker.start()
    inside.wait()
    try:
        in_a_child(lambda: same_bits(net(x).copy(), before))
    finally:
        go_on.set()
        worker.join()


# Nets and functions


def counting(inner: nn.Module) -> tuple[nn.Module, list[int]]:
    runs: list[int] = []

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x):
            runs.append(x.shape[0])
            return self.inner(x)

    return Counting(), runs


@pytest.mark.parametrize("limit", [0, 1, 20_000])
def test_any_budget_is_right(limit):
    net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
    twin = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
    twin.load_state_dict(net.state_dict())
    optimizers = [lm.optim.Adam(one.parameters(), lr=0.01) for one in (net, twin)]
    steps = [
        lm.TrainStep(one, nn.MSELoss(), optimizer)
        for one, optimizer in zip((net, twin), optimizers, strict=True)
    ]
    rng = np.random.default_rng(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for size in (1, 2, 3, 1, 2, 3, 1):
            x = rng.standard_normal((size, 3), np.float32)
            y = rng.standard_normal((size, 2), np.float32)
            found = []
            for bound, one, step in zip((limit, 1 << 28), (net, twin), steps, strict=True):
                programs.set_limit(bound)
                found.append((one(x).copy(), float(step(x, y)), F.softmax(x, -1).copy()))
                assert programs.held()[1] <= bound
            for got, want in zip(*found, strict=True):
                same_bits(np.asarray(got), np.asarray(want))
        gradients = [np.ones_like(p.numpy()) for p in net.parameters()]
        for bound, optimizer in zip((limit, 1 << 28), optimizers, strict=True):
            programs.set_limit(bound)
            for _ in range(3):
                optimizer.step(gradients)
        for p, q in zip(net.parameters(), twin.parameters(), strict=True):
            same_bits(p.numpy(), q.numpy())


def test_many_sizes_are_kept():
    """Far more signatures than any count of them: none is compiled twice."""
    net, runs = counting(nn.Linear(3, 2))
    for _ in range(2):
        for size in range(40):
            net(np.zeros((size, 3), np.float32))
    assert len(runs) <= 40


def test_many_structures_are_kept():
    net, runs = counting(nn.Dropout(0.5))
    for _ in range(2):
        for p in range(8):
            net.inner.p = p / 8
            net.train(p % 2 == 0)
            net(np.ones((1, 3), np.float32))
    assert len(runs) == 8


def test_replaced_layers_do_not_stay():
    net = nn.Sequential(nn.Linear(3, 3))
    seen = []
    for _ in range(8):
        net(np.ones((1, 3), np.float32))
        seen.append(weakref.ref(net[0].weight))
        net[0] = nn.Linear(3, 3)
    net(np.ones((1, 3), np.float32))
    gc.collect()
    assert sum(one() is not None for one in seen) <= 4


def test_parameters_that_functions_keep_count():
    x = np.ones((1, 1000), np.float32)
    F.linear(x, nn.Parameter(np.zeros((1000, 1000), np.float32)))
    assert programs.held()[1] > 4_000_000
    programs.set_limit(10_000_000)
    seen = []
    for _ in range(4):
        w = nn.Parameter(np.zeros((1000, 1000), np.float32))
        seen.append(weakref.ref(w))
        F.linear(x, w)
    del w
    gc.collect()
    assert sum(one() is not None for one in seen) == 2


def test_what_the_core_answers_alone_stays():
    """A net in use outlives one whose sizes never end, though Python does not see its calls."""
    net, runs = counting(nn.Linear(3, 2))
    other = nn.Sequential(nn.Linear(3, 3), nn.Tanh())
    x = np.ones((2, 3), np.float32)
    net(x)
    programs.set_limit(programs.held()[1] * 12)
    for size in range(100):
        other(np.zeros((size, 3), np.float32))
        other(np.zeros((size, 3, 3), np.float32))
        net(x)
    assert runs == [2]


def test_the_core_forgets_what_is_evicted():
    net = nn.Linear(3, 2)
    x = np.ones((2, 3), np.float32)
    net(x)
    seen = weakref.ref(net._compiled.find(net, x)[0].program)
    programs.set_limit(0)
    gc.collect()
    assert seen() is None
    net(x)
    assert programs.held() == (0, 0)


def test_a_module_that_is_gone_counts_no_more():
    net = nn.Sequential(nn.Linear(3, 2))
    net(np.ones((2, 3), np.float32))
    assert programs.held()[0] == 2  # the program, and what is known of its family
    del net
    gc.collect()
    assert programs.held() == (0, 0)


def test_the_budget_is_shown(capsys):
    lm.set_cache_bytes(3 << 20)
    assert lm.get_cache_bytes() == 3 << 20
    nn.ReLU()(np.ones(2, np.float32))
    assert lm.config()["programs"]["at most"] == "3 MiB"
    assert lm.config()["programs"]["kept"] >= 1
    lm.show_config()
    assert "3 MiB" in capsys.readouterr().out
    for bad in (-1, 1.5, "1", None, True):
        with pytest.raises((TypeError, ValueError), match="set_cache_bytes: "):
            lm.set_cache_bytes(bad)
    assert lm.get_cache_bytes() == 3 << 20
