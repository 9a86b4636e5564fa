# SPDX-License-Identifier: Apache-2.0
"""Extents against plain integers: values at other sizes, conditions, and reasons.

The oracle is Python's own arithmetic: an expression of extents, evaluated at other sizes by its
formulas, is that expression of plain ints, wherever the conditions that it noted hold.
"""

from __future__ import annotations

import copy
import math
import operator
import pickle
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lamella.ir.extent import Extent, Extents, plain
from lamella.ir.reciprocal import Reciprocal


def symbols(*values: int) -> tuple[Any, ...]:
    extents = Extents()
    return extents, *(extents.symbol(value) for value in values)


BINARY = (operator.add, operator.sub, operator.mul, operator.floordiv, operator.mod, min, max)


def expression(draw: random.Random, depth: int) -> Callable[..., Any]:
    """A random function of two sizes."""
    if depth == 0:
        kind = draw.randrange(3)
        number = draw.randint(-9, 9)
        return (lambda n, m: n, lambda n, m: m, lambda n, m: number)[kind]
    left, right = (expression(draw, draw.randint(0, depth - 1)) for _ in range(2))
    word = draw.choice(BINARY)
    return lambda n, m: word(left(n, m), right(n, m))


def result(function: Callable[..., Any], *sizes: Any) -> Any:
    try:
        return function(*sizes)
    except ZeroDivisionError:
        return "division by zero"


def test_random_expressions_are_those_of_plain_ints() -> None:
    draw = random.Random(1)
    checked = 0
    for _ in range(1500):
        function = expression(draw, draw.randint(1, 4))
        sizes = draw.randint(2, 40), draw.randint(2, 40)
        extents, n, m = symbols(*sizes)
        found = result(function, n, m)
        assert found == result(function, *sizes)
        if isinstance(found, str):
            continue
        assert extents.reasons == []
        number = extents.number(found)
        assert extents.hold(sizes)
        for _ in range(12):
            other = draw.randint(2, 60), draw.randint(2, 60)
            if extents.hold(other):
                checked += 1
                assert extents.values(other)[number] == function(*other), (extents.formulas, other)
    assert checked > 4000


def test_every_comparison_is_true_of_the_sizes_or_noted() -> None:
    draw = random.Random(2)
    words = (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge)
    for _ in range(1500):
        left, right = expression(draw, draw.randint(0, 3)), expression(draw, draw.randint(0, 3))
        word = draw.choice(words)

        def function(n: Any, m: Any) -> bool:
            return bool(word(left(n, m), right(n, m)))  # noqa: B023

        sizes = draw.randint(2, 20), draw.randint(2, 20)
        extents, n, m = symbols(*sizes)
        found = result(function, n, m)
        assert found == result(function, *sizes)
        if isinstance(found, str):
            continue
        for _ in range(12):
            other = draw.randint(2, 30), draw.randint(2, 30)
            if extents.hold(other):
                assert found == function(*other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda n, m: n + m - n, lambda n, m: m),
        (lambda n, m: n * (m + 3), lambda n, m: 3 * n + m * n),
        (lambda n, m: n * m // m, lambda n, m: n),
        (lambda n, m: (n * n + n) // (n + 1), lambda n, m: n),
        (lambda n, m: (n * m - m) // (n - 1), lambda n, m: m),
        (lambda n, m: 4 * n // 4, lambda n, m: n),
        (lambda n, m: 6 * n // 4, lambda n, m: n + n // 2),
        (lambda n, m: n // 4 * 4 + n % 4, lambda n, m: n),
        (lambda n, m: n // 2 // 3, lambda n, m: n // 6),
        (lambda n, m: -(-n // 32), lambda n, m: (n + 31) // 32),
        (lambda n, m: (n * m + n - 1) // n, lambda n, m: m),
        (lambda n, m: n * m % n, lambda n, m: 0),
        (lambda n, m: n**3 // n, lambda n, m: n << 1 if n < 2 else n * n),
        (lambda n, m: (n << 3) >> 2, lambda n, m: 2 * n),
        (lambda n, m: ~n, lambda n, m: -n - 1),
        (lambda n, m: round(n) + math.floor(m), lambda n, m: m + n),
    ],
)
def test_equal_formulas_are_one_number(one: Any, other: Any) -> None:
    extents, n, m = symbols(12, 7)
    assert extents.number(one(n, m)) == extents.number(other(n, m))
    assert one(n, m) == other(n, m)
    assert extents.conditions == []
    assert extents.reasons == []


def test_what_depends_on_no_size_is_a_plain_int() -> None:
    _, n, _ = symbols(12, 7)
    for found in (n - n, n * 0, n // n, (n + 2 - n) ** 2, sum((n, 5, -n))):
        assert type(found) is int


def test_what_is_always_so_is_no_condition() -> None:
    extents, n, m = symbols(12, 7)
    assert n
    assert n >= 2
    assert n > 1
    assert n != 1
    assert n * m > -1
    assert n * m - n >= 2
    assert n + m > n
    assert n // 2 >= 1
    assert n - n // 2 >= 1
    assert 2 * (n // 2) <= n < 2 * (n // 2) + 2
    assert (n + 3) // 4 * 4 >= n
    assert n * m // 2 < n * m
    assert max(n, 1) is n
    assert (n - 2) % n == n - 2
    assert extents.conditions == []


def listed(extents: Extents) -> list[tuple[Any, ...]]:
    """The conditions, with formulas that are a symbol or a constant by name."""
    names = {
        i: "nm"[first] if kind == "symbol" else first if kind == "constant" else kind
        for i, (kind, first, _) in enumerate(extents.formulas)
    }
    return [(relation, names[i], names[j]) for relation, i, j in extents.conditions]


def test_conditions_are_noted_once_and_as_they_held() -> None:
    extents, n, m = symbols(12, 7)
    assert min(512, n) is n
    assert not n < m
    assert m <= n
    assert n != 64
    assert 2 * n < 1024
    assert listed(extents) == [("lt", "n", 512), ("le", "m", "n"), ("ne", "n", 64)]
    assert extents.hold((511, 3))
    assert not extents.hold((512, 3))
    assert not extents.hold((64, 3))
    assert not extents.hold((12, 13))
    assert not extents.hold((12, 1))


def test_fractions_compare_as_fractions() -> None:
    extents, n, _ = symbols(12, 7)
    assert n < 12.5
    assert n > 11.5
    assert n != 12.5
    assert n == 12.0
    assert n < math.inf
    assert not extents.hold((13, 7))
    assert extents.hold((12, 9))
    assert extents.reasons == []


def test_division_by_what_may_be_zero() -> None:
    extents, n, m = symbols(12, 7)
    with pytest.raises(ZeroDivisionError):
        n // 0
    with pytest.raises(ZeroDivisionError):
        n % (n - 12)
    assert plain(n // -5) == -3
    assert plain(m // (n - 1)) == 0
    assert extents.reasons == []
    assert extents.conditions == []
    assert plain(8 // (n - 10)) == 4
    assert extents.hold((11, 7))
    assert not extents.hold((10, 7))
    assert not extents.hold((9, 7))
    assert plain(8 // (10 - n)) == -4
    assert extents.reasons == []


READS: dict[str, Callable[[Any], Any]] = {
    "range": lambda n: list(range(n)),
    "range of a quotient": lambda n: list(range(n // 8)),
    "a part of a sequence": lambda n: "abcdefghijklmnop"[:n],
    "an element": lambda n: list(range(20))[n],
    "repetition": lambda n: [0] * n,
    "float()": float,
    "int()": int,
    "a quotient": lambda n: n / 2,
    "a quotient of": lambda n: 3 / n,
    "a factor before": lambda n: 0.5 * n,
    "a factor behind": lambda n: n * 0.5,
    "a root": lambda n: n**0.5,
    "math.sqrt": math.sqrt,
    "a power of two": lambda n: 2**n,
    "bits": lambda n: n & 7,
    "bit_length": lambda n: n.bit_length(),
    "math.gcd": lambda n: math.gcd(n, 8),
    "math.isqrt": math.isqrt,
    "operator.index": operator.index,
    "np.zeros": lambda n: np.zeros(n).sum(),
    "np.arange": lambda n: np.arange(n).sum(),
    "np.sqrt": np.sqrt,
    "np.array": lambda n: np.array([n, 3], np.int64).sum(),
    "an array's elements": lambda n: (np.ones(3) * n).sum(),
    "a key": lambda n: {12: "twelve"}.get(n),
    "a key of a shape": lambda n: (n, 3) in {(12, 3)},
    "a reciprocal in a sum": lambda n: 1 / n + 1.0,
    "a reciprocal before": lambda n: 2.0 * (1.0 / n),
    "a reciprocal compared": lambda n: 1 / n < 0.5,
    "a reciprocal's root": lambda n: math.sqrt(1 / n),
    "pickle": lambda n: pickle.loads(pickle.dumps(n)),
}


@pytest.mark.parametrize("how", READS)
def test_what_reads_the_value_is_a_reason(how: str) -> None:
    extents = Extents(lambda: " (net.py, line 3)")
    n = extents.symbol(12)
    assert READS[how](n) == READS[how](12)
    assert extents.reasons != []
    assert all(text.endswith(" (net.py, line 3)") for text in extents.reasons)


WORDS: dict[str, Callable[[Any], Any]] = {
    "np.minimum": lambda n: np.minimum(n, 512),
    "np.maximum": lambda n: np.maximum(n, np.int64(4)),
    "a NumPy integer before": lambda n: np.int64(3) * n,
    "a NumPy integer behind": lambda n: n - np.int32(3),
    "np.prod": lambda n: np.prod((n, 3)),
    "np.sum": lambda n: np.sum([n, n, 3]),
    "math.prod": lambda n: math.prod((2, n, 3)),
    "sum": lambda n: sum((n, n)),
    "divmod": lambda n: divmod(n, 5)[1],
    "abs": abs,
    "copy": copy.deepcopy,
    "True": lambda n: n + True,
}


@pytest.mark.parametrize("how", WORDS)
def test_what_knows_whole_numbers_keeps_the_formula(how: str) -> None:
    extents = Extents()
    n = extents.symbol(12)
    found = WORDS[how](n)
    assert found == WORDS[how](12)
    number = extents.number(found)
    assert extents.reasons == []
    assert extents.values([37])[number] == WORDS[how](37)


def test_it_counts_as_an_int() -> None:
    _, n, _ = symbols(12, 7)
    assert isinstance(n, int)
    assert isinstance(n, int | float)
    assert type(n) is Extent
    assert type(plain(n)) is int
    assert f"{n} {n:04d} {(n, 3)}" == "12 0012 (12, 3)"
    assert not hasattr(n, "shape")
    match n:
        case int():
            pass
        case _:
            pytest.fail("no int")


def test_programs_may_read_values_while_they_are_made() -> None:
    extents, n, _ = symbols(12, 7)
    extents.lowering = True
    assert operator.index(n) == 12
    assert extents.reasons == []


def test_nothing_is_noted_when_all_is_done() -> None:
    extents, n, m = symbols(12, 7)
    extents.closed = True
    assert n > 5
    assert n != m
    assert list(range(m)) == list(range(7))
    assert extents.conditions == []
    assert extents.reasons == []


def test_a_reciprocal_keeps_its_extent() -> None:
    extents, n, _ = symbols(12, 7)
    for found in (1 / n, 1.0 / n):
        assert type(found) is Reciprocal
        assert found.extent is n
        assert isinstance(found, float)
        assert found.value == 1 / 12
    assert extents.reasons == []


def test_extents_of_two_traces_do_not_mix_unseen() -> None:
    first, n = symbols(12)
    second, m = symbols(12)
    assert n + m == 24
    assert first.reasons
    assert second.reasons


def test_sizes_below_two_are_never_free() -> None:
    for value in (0, 1):
        with pytest.raises(ValueError, match="at least 2"):
            Extents().symbol(value)
