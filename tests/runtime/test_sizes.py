# SPDX-License-Identifier: Apache-2.0
"""Calls of any size that the core answers by a text: found, made, dropped, and refused."""

from __future__ import annotations

import gc
import os
import random
import threading
import weakref

import numpy as np
import pytest

from comparators import same_bits
from lamella import _core
from lamella import functional as F
from lamella.runtime.session import Compiled, compile_call
from recorder import Recorder

ROWS = (((0, 0),),)
LIMIT = 256 << 20


@pytest.fixture(autouse=True)
def _budget():
    yield
    _core.set_sized_limit(LIMIT)


def draw(*shape: int, seed: int = 5, dtype=np.float32) -> np.ndarray:
    return np.random.default_rng((seed, *shape)).normal(size=shape).astype(dtype)


W, V = draw(7, 9), draw(9, 3)


def mlp(x):
    return F.tanh(x @ W) @ V


class Sized(Recorder):
    """Answers calls of `body` at any size; examples: what its text is made of."""

    def __init__(self, body, *examples, free=ROWS, names=(), **more):
        super().__init__()
        self.body, self.names = body, names
        self.compiled = compiled = compile_call(body, self.arguments(examples), free=free)
        assert compiled.extents is not None
        assert compiled.extents.reasons == []
        symbols = [list(group) for group in free]
        self.text = compiled.program.text(symbols=symbols, conditions=compiled.extents.conditions)
        self.learn(compiled, *examples, text=self.text, **more)

    def arguments(self, given):
        return given

    def learn(self, compiled: Compiled, *given, **more) -> None:
        returns = compiled.returns
        assert self._remember(given, self.names, compiled.program, returns, **more)

    def fresh(self, *given):
        """What a program of this size alone gives."""
        arrays = self.arguments(given)
        return compile_call(self.body, arrays).run(arrays)

    def check(self, *given) -> None:
        want = self.fresh(*given)
        count = len(given) - len(self.names)
        for _ in range(2):
            got = self(*given[:count], **dict(zip(self.names, given[count:], strict=True)))
            assert self.missed == []
            for one, other in zip(*map(flat, (got, want)), strict=True):
                same_bits(one, other)
        assert self.missed == []

    def misses(self, *given) -> None:
        assert self(*given) == "dispatched"
        self.missed.clear()


def flat(result):
    if isinstance(result, np.ndarray):
        return [result]
    items = result.values() if isinstance(result, dict) else result
    return [array for item in items for array in flat(item)]


def test_any_size_is_answered():
    f = Sized(mlp, draw(5, 7))
    sizes = [*range(2, 40), 64, 255, 1000]
    random.Random(3).shuffle(sizes)
    for n in sizes:
        f.check(draw(n, 7))
    for n in sizes[:5]:
        f.check(draw(n, 7, seed=6))


def test_what_the_text_does_not_know_is_dispatched():
    f = Sized(mlp, draw(5, 7))
    wrong = [draw(0, 7), draw(1, 7), draw(5, 6), draw(7), draw(5, 7, 1), draw(5, 7, dtype="f8"),
             draw(7, 5).T, draw(10, 7)[::2], draw(5, 7).tolist(), None, 3]  # fmt: skip
    for one in wrong:
        f.misses(one)
    assert not Recorder()._remember((draw(1, 7),), (), f.compiled.program, None, text=f.text)
    with pytest.raises(TypeError, match="text is a Text"):
        f._remember((draw(5, 7),), (), f.compiled.program, None, text="text")


def test_a_size_of_its_own_comes_first_or_last():
    f = Sized(mlp, draw(5, 7))
    for n in (1, 6, 0):
        f.learn(compile_call(mlp, (draw(n, 7),)), draw(n, 7))
    for n in (0, 1, 2, 5, 6, 7, 1, 6, 0):
        f.check(draw(n, 7))


def two(a, b):
    return F.relu(a @ W) + b, a.sum(1)


def test_symbols_agree():
    free = (((0, 0), (1, 0)), ((2, 1),))
    f = Sized(
        lambda a, b, c: (*two(a, b), c * 2.0), draw(4, 7), draw(4, 9), draw(2, 4, 3), free=free
    )
    for n, m in ((2, 2), (3, 9), (9, 3), (4, 4), (50, 2)):
        f.check(draw(n, 7), draw(n, 9), draw(2, m, 3))
    for n, k, m in ((2, 3, 2), (3, 2, 2), (2, 2, 1), (1, 1, 2)):
        f.misses(draw(n, 7), draw(k, 9), draw(2, m, 3))


def test_ranks_and_places():
    f = Sized(lambda x: x.sum(3) * 2.0, draw(3, 2, 3, 4, 5, 6), free=(((0, 4),), ((0, 0),)))
    for n, m in ((2, 5), (5, 2), (3, 3)):
        f.check(draw(n, 2, 3, 4, m, 6))


class Turned(Sized):
    """Takes arrays whose last two axes are exchanged."""

    def arguments(self, given):
        return [one.swapaxes(-1, -2) for one in given]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_transposed_inputs(axis):
    shape = [3, 4, 5]
    f = Turned(
        lambda x: x.sum(1) * 2.0,
        draw(*shape).swapaxes(-1, -2),
        free=(((0, axis),),),
        turned=(True,),
    )
    for n in (2, 3, 11, 64):
        shape[axis] = n
        f.check(draw(*shape).swapaxes(-1, -2))
        f.misses(draw(*shape))


def test_keywords_and_constants():
    class Scaling(Sized):
        def arguments(self, given):
            return given[:2]

    free = (((0, 0), (1, 0)),)
    names = ("b", "how")
    f = Scaling(lambda a, b: a * 2.0 + b, draw(4, 3), draw(4, 3), "mode", free=free, names=names)
    for n in (2, 7, 4):
        f.check(draw(n, 3), draw(n, 3, seed=1), "mode")
    a = draw(4, 3)
    assert f(a, b=a, how="other") == "dispatched"
    assert f(a, how="mode", b=a) == "dispatched"
    assert f(a, a, how="mode") == "dispatched"


def test_many_outputs_and_structures():
    f = Sized(lambda x: {"sum": x.sum(1), "rest": (x * 2.0, [x - 1.0])}, draw(3, 4))
    for n in (2, 5, 3):
        f.check(draw(n, 4))


def test_out():
    f = Sized(mlp, draw(5, 7))
    for n in (5, 2, 9, 2):
        x, out = draw(n, 7), np.full((n, 3), np.nan, np.float32)
        want = f.fresh(x)
        for _ in range(2):
            assert f(x, out=out) is out
            same_bits(out, want)
            out[...] = np.nan
        for wrong in (np.empty((n + 1, 3), np.float32), np.empty((n, 3)), out[:, ::-1], x):
            f.missed.clear()
            assert f(x, out=wrong) == "dispatched"
        f.missed.clear()


def test_results_are_the_callers_own():
    f = Sized(mlp, draw(5, 7))
    kept = []
    for n in (2, 3, 2, 5, 3, 2, 2, 2):
        x = draw(n, 7, seed=len(kept))
        kept.append((f(x), f.fresh(x)))
    for got, want in kept:
        same_bits(got, want)


def branching(x):
    return x * 2.0 if x.shape[0] < 10 else x * 3.0


def test_a_refused_size_is_pythons():
    f = Sized(branching, draw(5, 4))
    for n in (2, 9, 5):
        f.check(draw(n, 4))
    for n in (10, 11, 10):
        f.misses(draw(n, 4))
    f.learn(compile_call(branching, (draw(10, 4),)), draw(10, 4))
    for n in (9, 10, 2, 10, 10):
        f.check(draw(n, 4))
    f.misses(draw(11, 4))


def test_a_watch_holds_for_all_sizes():
    state = {"on": 1}
    watch = _core.Watch((("entry", state, "on"),), ())
    f = Sized(mlp, draw(5, 7), watch=watch)
    f.check(draw(8, 7))
    state["on"] = 2
    for n in (5, 8, 9):
        f.misses(draw(n, 7))
    state["on"] = 1
    for n in (5, 8, 9):
        f.check(draw(n, 7))


# Memory


def test_the_least_recently_used_go_first():
    f = Sized(mlp, draw(5, 7))
    gc.collect()
    count, before = _core.sized_programs()
    f.check(draw(2, 7))
    one = _core.sized_programs()[1] - before
    assert one > 0
    assert _core.sized_programs()[0] == count + 1
    _core.set_sized_limit(0)
    assert _core.sized_programs() == (0, 0)
    for n in (5, 2, 3, 2):  # made for each call
        f.check(draw(n, 7))
    assert _core.sized_programs() == (0, 0)
    _core.set_sized_limit(10 * one)
    for n in range(10, 200):
        f.check(draw(n, 7))
        assert 0 < _core.sized_programs()[1] <= 10 * one
    _core.set_sized_limit(LIMIT)
    for n in range(10, 60):
        f.check(draw(n, 7))
    assert _core.sized_programs()[0] >= 50
    del f
    gc.collect()
    assert _core.sized_programs()[0] <= count


def test_entries_of_one_text_share_its_programs():
    f = Sized(mlp, draw(5, 7))
    g = Recorder()
    assert g._remember((draw(5, 7),), (), f.compiled.program, None, text=f.text)
    f.check(draw(8, 7))
    before = _core.sized_programs()
    same_bits(g(draw(8, 7)), f(draw(8, 7)))
    assert _core.sized_programs() == before
    f._forget()
    same_bits(g(draw(9, 7)), g(draw(9, 7)))
    g._forget()
    assert _core.sized_programs()[0] < before[0] + 1


def test_what_is_kept_is_freed():
    class Kept:
        pass

    kept = Kept()
    f = Sized(mlp, draw(5, 7), keep=[kept])
    kept.f = f
    f.check(draw(6, 7))
    gone = weakref.ref(kept)
    del f, kept
    gc.collect()
    assert gone() is None


def test_failed_allocations():
    f, held = Sized(mlp, draw(5, 7)), 0
    for n in range(1, 200):
        x = draw(n + 5, 7)
        _core.fail_allocation(n)
        try:
            y = f(x)
            held += 1
        except MemoryError:
            y = None
        finally:
            _core.fail_allocation(0)
        assert f.missed == []
        if y is not None:
            same_bits(y, f.fresh(x))
        f.check(x)
        f.check(draw(5, 7))
        if held == 3:
            break
    assert held == 3
    assert n > 6


# Threads


def team(work, count: int) -> None:
    failed, start = [], threading.Barrier(count)

    def run(number):
        try:
            start.wait(60)
            work(number)
        except BaseException as error:
            failed.append(error)

    members = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for member in members:
        member.start()
    for member in members:
        member.join()
    assert not failed, failed


@pytest.mark.parametrize("limit", [LIMIT, 60_000, 0])
def test_threads_that_bring_sizes_at_once(limit):
    f = Sized(mlp, draw(5, 7))
    want = {n: f.fresh(draw(n, 7)) for n in range(2, 40)}
    _core.set_sized_limit(limit)

    def work(number):
        rng = random.Random(number)
        for n in rng.choices(range(2, 40), k=150):
            y = f(draw(n, 7))
            assert y.tobytes() == want[n].tobytes()

    team(work, 8)
    assert f.missed == []


def test_forgetting_while_sizes_are_made():
    f = Sized(mlp, draw(5, 7))
    want = {n: f.fresh(draw(n, 7)) for n in range(2, 200)}

    def work(number):
        for n in range(2, 200):
            if number == 0:
                if n % 20 == 0:
                    f._forget()
                f.learn(f.compiled, draw(5, 7), text=f.text)
            y = f(draw(n, 7))
            assert y == "dispatched" if isinstance(y, str) else y.tobytes() == want[n].tobytes()

    team(work, 4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_while_a_size_is_made():
    f = Sized(mlp, draw(5, 7))
    want = {n: f.fresh(draw(n, 7)).tobytes() for n in range(2, 60)}
    stop = threading.Event()

    def busy():
        _core.set_sized_limit(0)
        while not stop.is_set():
            for n in range(2, 60):
                f(draw(n, 7))

    other = threading.Thread(target=busy)
    other.start()
    try:
        for _ in range(20):
            pid = os.fork()
            if pid == 0:
                os._exit(0 if all(f(draw(n, 7)).tobytes() == want[n] for n in (2, 30, 59)) else 1)
            assert os.waitpid(pid, 0)[1] == 0
    finally:
        stop.set()
        other.join()
