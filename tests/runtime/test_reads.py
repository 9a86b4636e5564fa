# SPDX-License-Identifier: Apache-2.0
"""What the walk over code finds, and that it neither calls nor follows what it should not."""

from __future__ import annotations

import math
import os.path
import random

import numpy as np

import lamella.functional as F
from lamella.runtime.bytecode import named
from lamella.runtime.reads import read

LIMIT, UNUSED, LISTED = 1.0, 2.0, [1, 2]


def names(function):
    return {place.name for place in read(function).places if place.name}


def inner():
    return LIMIT


def test_names_in_code():
    def function(x):
        import json

        value = [getattr(x, "alpha", 1) for _ in LISTED]
        return json.dumps, x.beta(), value, LIMIT

    found = named(function.__code__)
    assert {"LIMIT", "LISTED"} <= found.globals
    assert {"alpha", "beta", "dumps"} <= found.attributes
    assert found.imports == {"json"}
    assert not found.dynamic
    assert named((lambda x, name: getattr(x, name)).__code__).dynamic
    assert named((lambda x: getattr(x, f"w{LIMIT}")).__code__).dynamic
    assert named((lambda x: vars(x)).__code__).dynamic
    assert named((lambda x: x.__dict__).__code__).dynamic
    assert not named((lambda x: getattr(x, "w").y).__code__).dynamic  # noqa: B009


def test_only_what_is_named():
    assert names(lambda: inner()) == {"global inner", "global LIMIT"}
    assert names(lambda: (math.pi, os.path.sep, np.pi, F.relu)) == set()
    assert names(F.relu) == set()
    assert names(lambda: LISTED[0]) == {"global LISTED"}


def test_recursion_ends():
    def even(n):
        return n == 0 or odd(n - 1)

    def odd(n):
        return n != 0 and even(n - 1)

    assert names(even) == {"closure odd", "closure even"}
    circle = [even]
    circle.append(circle)
    assert "closure circle" in names(lambda: circle)


class Loud:
    """Anything that Python may call, and must not while looking."""

    def __getattr__(self, name):
        raise AssertionError(name)

    def __getattribute__(self, name):
        if name in ("__class__", "__dict__"):
            return object.__getattribute__(self, name)
        raise AssertionError(name)

    __eq__ = __hash__ = __len__ = __iter__ = __bool__ = None

    @property
    def value(self):
        raise AssertionError("value")


def test_nothing_of_the_users_is_called():
    loud = Loud()
    for function in (lambda: loud, lambda: loud.value, lambda: [loud.other, loud["k"]]):
        assert "closure loud" in names(function)


def test_arrays_and_generators():
    arrays, generator = {"a": [np.ones(2)]}, np.random.default_rng(0)
    found = read(lambda: (arrays, generator))
    assert [name for name, _ in found.arrays.values()] == ["closure arrays['a'][0]"]
    assert found.generators == [generator]
    assert len(read(lambda: np.random.rand()).generators) == 1  # noqa: NPY002
    assert read(lambda: np.exp(1)).generators == []
    system = random.SystemRandom()
    assert read(lambda: system.random()).generators == []
