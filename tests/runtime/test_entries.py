# SPDX-License-Identifier: Apache-2.0
"""Entries of a Callable: one is found however many there are, and few keep memory for results."""

from __future__ import annotations

import gc
import itertools
import random
import tracemalloc

import numpy as np
import pytest

from comparators import same_bits
from lamella import _core
from recorder import Recorder, negation

KEPT = 16  # entries whose results are kept
MOST = 1024


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def remembering(arrays, **more) -> Recorder:
    f = Recorder()
    for a in arrays:
        assert f._remember((a,), (), negation(a.shape, a.dtype.name), None, **more)
    return f


@pytest.mark.parametrize("count", [3, 4, 5, 15, 16, 17, 200])
def test_every_signature_is_found(count):
    shapes = [(i,) for i in range(1, count)] + [(1, 2, 3, 4, 5, 6)]
    arrays = [np.full(s, i, d) for i, s in enumerate(shapes) for d in ("float32", "float64")]
    f = remembering(arrays)
    rng = random.Random(count)
    for a in rng.choices(arrays, k=600):
        same_bits(f(a), -a)
    assert f.missed == []
    for other in (ones(count, 2), np.ones(count + 1), np.ones(1, np.int64), 3.0, None):
        assert f(other) == "dispatched"


def test_values_that_are_not_the_same_are_other_signatures():
    x = ones(3)

    class Odd:  # equal to everything, as same_value never asks
        def __eq__(self, other):
            return True

        def __hash__(self):
            return 0

    values = [0, 1, 2**70, 0.0, -0.0, 1.0, float("nan"), True, False, None, "a", "", 1j, 0j,
              (), (1,), (1.0,), ("a", (True,)), Odd(),
              Odd(), len, float, 10**30]  # fmt: skip
    f = Recorder()
    for number, value in enumerate(values):
        assert f._remember((x, value), ("mode",), negation((3,)), lambda y, n=number: n)
    twins = [int(str(v)) if type(v) is int else float(repr(v)) if type(v) is float else
             (*v,) if type(v) is tuple else v for v in values]  # fmt: skip
    for _ in range(3):
        for number, (value, twin) in enumerate(zip(values, twins, strict=True)):
            assert f(x, mode=value) == f(x, mode=twin) == number
    assert f.missed == []
    for other in (2, -1.0, "b", (2,), np.float32(1), np.float64(1), Odd()):
        assert f(x, mode=other) == "dispatched"


def test_arguments_in_other_places_are_other_signatures():
    x, f = ones(2), Recorder()
    orders = list(itertools.permutations("abcd"))
    for number, names in enumerate(orders):
        assert f._remember((x, *range(4)), names, negation((2,)), lambda y, n=number: n)
    for number, names in enumerate(orders):
        assert f(x, **dict(zip(names, range(4), strict=True))) == number
    assert f(x, **dict(zip("abce", range(4), strict=True))) == "dispatched"


def test_beyond_the_most_any_goes_and_the_rest_stays():
    arrays = [ones(n) for n in range(1, MOST + 101)]
    f = remembering(arrays)
    answered = 0
    for a in arrays:
        y = f(a)
        if isinstance(y, np.ndarray):
            same_bits(y, -a)
            answered += 1
    assert answered == MOST
    assert isinstance(f(arrays[-1]), np.ndarray)


def test_entries_that_are_not_used_keep_no_results():
    n = 8192  # 32 KiB each
    arrays = [np.ones((count, n // count), np.float32) for count in range(1, 61)]
    f = remembering(arrays)
    gc.collect()
    tracemalloc.start()
    for _ in range(2):
        for a in arrays:
            held = [f(a) for _ in range(4)]
    del held
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert size < (4 * KEPT + 1) * 4 * n + 100_000
    assert f.missed == []


def test_programs_for_other_states_of_python_share_a_signature():
    x, f, state = ones(3), Recorder(), {"now": 0}
    for number in range(40):
        state["now"] = number
        watch = _core.Watch((("entry", state, "now"),), ())
        assert f._remember((x,), (), negation((3,)), lambda y, n=number: n, watch=watch)
    for number in random.Random(1).choices(range(40), k=300):
        state["now"] = number
        assert f(x) == number
    state["now"] = 99
    assert f(x) == "dispatched"


def test_forgetting_while_entries_cool_down():
    """What happens when results of an entry are freed may be anything."""
    arrays = [ones(n) for n in range(1, 40)]
    f = remembering(arrays)
    for a in arrays * 3:
        y = f(a)
        if isinstance(y, np.ndarray):
            same_bits(y, -a)
        if a.size % 7 == 0:
            f._forget()
            assert f._remember((a,), (), negation(a.shape), None)


def test_failed_allocations():
    arrays = [ones(n) for n in range(1, 30)]
    for n in range(1, 12):
        f = remembering(arrays[:-1])
        _core.fail_allocation(n)
        try:
            f._remember((arrays[-1],), (), negation((29,)), None)
        except MemoryError:
            pass
        finally:
            _core.fail_allocation(0)
        for a in arrays[:-1]:
            same_bits(f(a), -a)
        assert f._remember((arrays[-1],), (), negation((29,)), None)
        same_bits(f(arrays[-1]), -arrays[-1])
