# SPDX-License-Identifier: Apache-2.0
"""Rows put elsewhere and indices judged ahead, driven through ProgramBuilder without a graph."""

from __future__ import annotations

import numpy as np
import pytest

import programs
from lamella import _core


def test_index(threads: int) -> None:
    indices = np.arange(5000) % 20 - 10
    program = programs.index(10, 5000, from_end=True)
    np.testing.assert_array_equal(program.run([indices])[0], indices % 10)
    for bad, first, judge in ((-1, 0, programs.index(10, 5000)), (10, -10, program)):
        given = indices % 10
        given[4999] = bad
        with pytest.raises(IndexError, match=f"got {bad}; expected an index from {first} to 9"):
            judge.run([given])


@pytest.mark.parametrize("dtype", ["bool", "float32", "float64"])
def test_index_copy(threads: int, rng: np.random.Generator, dtype: str) -> None:
    sizes = [(1, 1, 1, 1), (3, 10, 5, 4), (1, 900, 64, 300), (70, 9, 80, 2), (2, 4, 0, 3)]
    for outer, rows, cols, count in [*sizes, (2, 0, 3, 2), (2, 5, 3, 0)]:
        x = rng.integers(0, 2, (outer, rows, cols)).astype(dtype)
        source = rng.integers(0, 2, (outer, count, cols)).astype(dtype)
        indices = rng.integers(-2, rows + 2, count)
        (y,) = programs.index_copy(dtype, outer, rows, cols, count).run([x, indices, source])
        for i, row in enumerate(indices):
            if 0 <= row < rows:
                x[:, row] = source[:, i]
        np.testing.assert_array_equal(y, x)


def test_in_place_and_elsewhere_are_the_same(threads: int, rng: np.random.Generator) -> None:
    """A constant that a program updates, written where it lies."""
    rows, indices, source = (
        rng.normal(size=(900, 64)),
        np.array([7, 0, 899]),
        rng.normal(size=(3, 64)),
    )
    want = rows.copy()
    want[indices] = source
    kept, version = rows.copy(), np.zeros(1, np.int64)
    builder = _core.ProgramBuilder(inputs=[("int64", (3,)), ("float64", (3, 64))], outputs=[])
    place = builder.constant(kept, version)
    builder.changes(place)
    spec = _core.IndexCopySpec(outer=1, rows=900, count=3, row_bytes=512)
    builder.add(spec, x=place, indices=builder.input(0), source=builder.input(1), y=place)
    builder.build().run([indices, source])
    np.testing.assert_array_equal(kept, want)
    assert version[0] == 1
