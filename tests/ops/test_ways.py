# SPDX-License-Identifier: Apache-2.0
"""How a product is computed: what sizes and strides choose, and where it can be read.

Which bits come out is tested elsewhere (test_product.py, tests/bits, `make products`). Here it is
which choice is made, and that the spec, the program and the profile tell it in the same words.
"""

from __future__ import annotations

import numpy as np
import pytest

import lamella as lm
import programs

WAYS = [
    # m, n, k, transposes, constant
    ((8, 64, 64), (False, False), True, "packed panels, tiles"),
    ((8, 64, 64), (False, False), False, "rows in place, tiles"),
    ((8, 65, 64), (False, False), False, "rows in place and a packed tail, tiles"),
    ((300, 64, 64), (False, False), False, "packed panels, tiles"),
    ((300, 256, 64), (True, False), False, "packed panels, tiles of copied rows"),
    ((2, 4096, 4096), (False, False), False, "rows in place, sweep"),
    ((64, 2048, 2048), (False, True), False, "columns in place, pieces packed for tiles"),
    ((1, 64, 64), (False, True), False, "columns in place, transposed squares"),
    ((64, 4, 64), (False, True), True, "terms in place, dots"),
    ((64, 4, 64), (False, False), True, "packed terms, dots"),
    ((20, 10, 64), (True, True), False, "terms in place, dots of copied rows"),
    ((512, 1, 1000), (True, True), False, "terms in place, dots lane by lane"),
]


@pytest.mark.parametrize(("sizes", "transposes", "constant", "want"), WAYS)
def test_the_choice(sizes, transposes, constant, want, isa):
    """Of sizes where all instruction sets agree."""
    a, b = transposes
    spec = programs.product("float32", *sizes, transpose_a=a, transpose_b=b, constant=constant)
    assert spec.way == want


def test_a_program_and_its_profile_tell_the_way():
    net = lm.nn.Sequential(lm.nn.Linear(64, 64), lm.nn.ReLU(), lm.nn.Linear(64, 4)).eval()
    x = np.ones((3, 64), np.float32)
    program = lm.compile(net, x).compiled.program
    assert dict(zip(program.steps, program.ways, strict=True))["matmul"] == "terms in place, dots"
    found = lm.profile(net, x, seconds=0.01)
    assert [row.ways for row in found.rows] == [
        ("packed panels, tiles",),
        ("terms in place, dots",),
    ]
    assert "[packed panels, tiles]" in str(found)


def test_steps_without_a_choice_tell_none():
    assert lm.compile(lambda x: x + x, np.ones(3, np.float32)).compiled.program.ways == [""]
