# SPDX-License-Identifier: Apache-2.0
"""What is the same to a program: the key in Python and the comparison in the core agree."""

from __future__ import annotations

import copy
import enum
import struct
from dataclasses import dataclass

import numpy as np
import pytest

from lamella import _core
from lamella.runtime.function import function
from lamella.runtime.key import static_key
from lamella.runtime.tensor import Operand


class Color(enum.Enum):
    RED = 1


class Number(enum.IntEnum):
    ONE = 1


class Text(str):
    pass


class Loose:
    """Equal to everything."""

    def __eq__(self, other):
        return True

    def __hash__(self):
        return 1


LOOSE = Loose()
OTHER_NAN = struct.unpack("d", struct.pack("Q", 0x7FF8000000000001))[0]
# Each is what no other is.
VALUES = [
    0, 1, -1, 2**70, True, False, None, 0.0, -0.0, 1.0, float("nan"), OTHER_NAN, float("inf"),
    1j, complex(0.0, -0.0), complex(-0.0, 0.0), "", "1", "a", b"", b"a", b"1",
    np.float32(0), np.float32(-0.0), np.float32(1), np.float64(1), np.float64("nan"), np.float16(1),
    np.int64(1), np.int32(1), np.uint8(1), np.bool_(True), np.str_("a"), np.bytes_(b"a"),
    np.complex64(1), np.longdouble(1), (), (1,), (1.0,), (True,), (0.0,), (-0.0,), ((1,),),
    (1, "a", None, (0.0, b"a")), Color.RED, Number.ONE, int, float, np.float32, Ellipsis, len,
    LOOSE,
]  # fmt: skip
# Python compares these item by item, the core by identity.
CONTAINERS = [
    [], [1], [1.0], [True], {}, {1: 2}, {"1": 2}, {1.0: 2}, {1: 2.0}, set(), {1}, {1.0},
    frozenset(), frozenset({True}), slice(1), slice(1.0), range(1), range(2), np.dtype("f4"),
    np.dtype("i4"), np.dtype(">f4"), ([1],), ([True],),
]  # fmt: skip


def again(value):
    """An equal value, another object where there can be one."""
    if isinstance(value, float | complex) and not isinstance(value, np.generic):
        return struct.unpack("dd", struct.pack("dd", value.real, value.imag))[0] if isinstance(
            value, float
        ) else complex(value.real, value.imag)  # fmt: skip
    if type(value) is str:
        return "".join(list(value))
    if type(value) is int:
        return int(str(value))
    if type(value) is tuple:
        return tuple([again(item) for item in value])
    return copy.deepcopy(value) if isinstance(value, np.generic) else value


def test_the_key_and_the_core_agree():
    keep = []
    keys = [static_key(value, keep) for value in VALUES]
    for i, a in enumerate(VALUES):
        for j, b in enumerate(VALUES):
            one = again(b)
            assert (keys[i] == static_key(one, keep)) == (i == j), (a, b)
            assert _core.same_value(a, one) == (i == j), (a, b)
            if keys[i] == keys[j]:
                assert hash(keys[i]) == hash(keys[j])


def test_containers_are_their_items():
    keep = []
    every = [*VALUES, *CONTAINERS]
    keys = [static_key(value, keep) for value in every]
    assert len(set(keys)) == len(every)
    for number, value in enumerate(CONTAINERS, start=len(VALUES)):
        other = copy.deepcopy(value)
        assert static_key(other, keep) == keys[number]
        # Where the core says the same, so does the key.
        assert not _core.same_value(value, other) or other is value


@dataclass(frozen=True)
class Settings:
    scale: float
    names: tuple


@pytest.mark.parametrize(
    "value",
    [
        Text("a"),
        Loose(),
        object(),
        np.datetime64("2020"),
        np.timedelta64(1, "s"),
        np.zeros(1, [("a", "f4")])[0],
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_more_to_it_is_itself_only(value):
    keep = []
    key = static_key(value, keep)
    assert key == static_key(value, [])
    assert keep[0] is value
    other = copy.copy(value) if type(value) is not object else object()
    if other is not value:
        assert key != static_key(other, keep)
        assert not _core.same_value(value, other)
    assert _core.same_value(value, value)


def test_units_of_dates_count():
    assert not _core.same_value(np.datetime64(50, "Y"), np.datetime64(50, "D"))


def test_frozen_dataclasses_are_their_fields():
    keep = []
    key = static_key(Settings(1.0, ("a",)), keep)
    assert key == static_key(Settings(1.0, ("a",)), keep)
    assert key != static_key(Settings(1, ("a",)), keep)
    assert key != static_key(Settings(True, ("a",)), keep)
    assert not keep


def test_equal_arguments_are_not_always_the_same():
    """`==` is no reason to run the program that was made for another value."""

    @function
    def scaled(x: Operand, settings):
        return x * settings.scale if isinstance(settings, Settings) else x * settings[0]

    x = np.ones(2, np.float32)
    for scale in (2.0, 0.0, -0.0, True, 1, 2.0):
        for given in (Settings(scale, ()), (scale,), [scale]):
            got = scaled(x, given)
            assert got.tobytes() == (x * np.float32(scale)).tobytes()
