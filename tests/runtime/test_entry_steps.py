# SPDX-License-Identifier: Apache-2.0
"""Steps that pick, put, carry and order entries, driven through ProgramBuilder without a graph."""

from __future__ import annotations

import numpy as np
import pytest

import programs
from lamella import _core

BAD = (-1, 10, 2**62, -(2**63))


@pytest.mark.parametrize("dtype", ["bool", "float32", "float64"])
def test_gather(threads: int, rng: np.random.Generator, dtype: str) -> None:
    for rows, cols, count in [(1, 1, 1), (10, 3, 25), (50, 128, 3000), (4, 0, 5), (3, 2, 0)]:
        table = rng.integers(0, 2, (1, rows, cols)).astype(dtype)
        indices = rng.integers(0, rows, (1, count, 1))
        (y,) = programs.gather(dtype, table.shape, count).run([table, indices])
        np.testing.assert_array_equal(y[0], table[0, indices[0, :, 0]])


def test_gather_counts_from_the_end(threads: int) -> None:
    table = np.arange(40, dtype=np.float32).reshape(1, 10, 4)
    program = programs.gather("float32", table.shape, 5000, from_end=True)
    indices = (np.arange(5000) % 20 - 10).reshape(1, 5000, 1)
    (y,) = program.run([table, indices])
    np.testing.assert_array_equal(y[0], table[0, indices[0, :, 0]])
    for bad in (-11, 10, 2**62, -(2**63)):
        indices[0, 4999] = bad
        with pytest.raises(IndexError, match=f"got {bad}; expected an index from -10 to 9"):
            program.run([table, indices])


@pytest.mark.parametrize("bad", BAD)
def test_gather_out_of_range(threads: int, bad: int) -> None:
    for lists in ((1, 1), (2, 1), (2, 4)):
        table = np.ones((2, 10, 4), np.float32)
        program = programs.gather("float32", table.shape, 5000, lists)
        indices = np.zeros((lists[0], 5000, lists[1]), np.int64)
        for position in (0, -1):
            indices.flat[position] = bad
            with pytest.raises(IndexError, match=str(bad)):
                program.run([table, indices])
            indices.flat[position] = 0
        np.testing.assert_array_equal(program.run([table, indices])[0], np.ones((2, 5000, 4)))
        empty = programs.gather("float32", (2, 0, 4), 1, lists)
        with pytest.raises(IndexError):
            empty.run([table[:, :0], indices[:, :1].copy()])


def test_index(threads: int) -> None:
    indices = np.arange(5000) % 20 - 10
    program = programs.index(10, 5000, from_end=True)
    np.testing.assert_array_equal(program.run([indices])[0], indices % 10)
    for bad, first, judge in ((-1, 0, programs.index(10, 5000)), (10, -10, program)):
        given = indices % 10
        given[4999] = bad
        with pytest.raises(IndexError, match=f"got {bad}; expected an index from {first} to 9"):
            judge.run([given])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_come_in_order(threads: int, rng: np.random.Generator, dtype: str) -> None:
    # The order of the sum is that of the indices, bit by bit, however members share the work.
    for rows, cols, count in [(1, 1, 9), (10, 3, 25), (50, 128, 3000), (5000, 3, 9000), (4, 0, 5)]:
        indices, x = rng.integers(0, rows, count), rng.normal(size=(count, cols)).astype(dtype)
        for skipped in (-1, 0):
            kept = indices != skipped
            want = np.zeros((rows, cols), dtype)
            np.add.at(want, indices[kept], x[kept])
            for width in {1, cols}:
                index = np.tile(indices[:, None], (1, 1, width))
                program = programs.scatter(
                    "sum", dtype, (1, rows, cols), count, (1, width), True, skipped=skipped
                )
                (y,) = program.run([index, x[None]])
                assert y[0].tobytes() == want.tobytes()


@pytest.mark.parametrize("bad", BAD)
def test_what_is_out_of_range_is_not_put(threads: int, bad: int) -> None:
    x, source = np.ones((2, 10, 4), np.float32), np.full((2, 50, 4), 3, np.float32)
    for lists in ((1, 1), (2, 1), (2, 4)):
        indices = np.full((lists[0], 50, lists[1]), bad)
        indices[:, 7] = 9
        for own, want in ((True, 4), (False, 3)):
            program = programs.scatter("sum", "float32", x.shape, 50, lists, include_self=own)
            (y,) = program.run([x, indices, source])
            assert (y[:, 9] == want).all()
            assert (y[:, :9] == 1).all()


@pytest.mark.parametrize("dtype", ["bool", "float32", "float64", "int32"])
def test_the_last_one_stays(threads: int, rng: np.random.Generator, dtype: str) -> None:
    sizes = [(1, 1, 1, 1), (3, 10, 5, 4), (1, 900, 64, 300), (70, 9, 80, 2), (2, 4, 0, 3)]
    for outer, rows, cols, count in [*sizes, (2, 0, 3, 2), (2, 5, 3, 0)]:
        x = rng.integers(0, 2, (outer, rows, cols)).astype(dtype)
        source = rng.integers(0, 2, (outer, count, cols)).astype(dtype)
        indices = rng.integers(-2, rows + 2, count)
        program = programs.scatter("replace", dtype, x.shape, count)
        (y,) = program.run([x, indices.reshape(1, count, 1), source])
        for i, row in enumerate(indices):
            if 0 <= row < rows:
                x[:, row] = source[:, i]
        np.testing.assert_array_equal(y, x)


def test_in_place_and_elsewhere_are_the_same(threads: int, rng: np.random.Generator) -> None:
    """A constant that a program updates, written where it lies."""
    rows, source = rng.normal(size=(900, 64)), rng.normal(size=(3, 64))
    indices = np.array([7, 0, 899])
    want = rows.copy()
    want[indices] = source
    kept, version = rows.copy(), np.zeros(1, np.int64)
    builder = _core.ProgramBuilder(inputs=[("int64", (3,)), ("float64", (3, 64))], outputs=[])
    place = builder.constant(kept, version)
    builder.changes(place)
    spec = _core.ScatterSpec(reduce="replace", dtype="float64", rows=900, count=3, width=64)
    builder.add(spec, x=place, indices=builder.input(0), source=builder.input(1), y=place)
    builder.build().run([indices, source])
    np.testing.assert_array_equal(kept, want)
    assert version[0] == 1


def test_specs_that_do_not_fit() -> None:
    def builds(spec: object, **slots: _core.Slot) -> None:
        builder = _core.ProgramBuilder(
            inputs=[("float32", (64,)), ("int64", (64,)), ("bool", (64,))],
            outputs=[("float32", (64,)), ("int64", (64,)), ("bool", (64,))],
        )
        given = {name: getattr(builder, kind)(number) for name, (kind, number) in slots.items()}
        builder.add(spec, **given)
        builder.build()

    x, y, positions = ("input", 0), ("output", 0), ("output", 1)
    whole = {"outer": 1, "size": 8, "inner": 1, "dtype": "float32"}
    for spec, slots, text in (
        (
            _core.ScanSpec(kind="sum", **whole),
            {"x": x, "y": y, "positions": positions},
            "positions",
        ),
        (_core.ScanSpec(kind="max", **whole), {"x": x, "y": y}, "positions"),
        (_core.ScanSpec(kind="sun", **whole), {"x": x, "y": y}, "sun"),
        (
            _core.ScanSpec(kind="max", reverse=True, **whole),
            {"x": x, "y": y, "positions": positions},
            "front",
        ),
        (_core.SortSpec(dtype="float32", rows=1, cols=8, wanted=9), {"x": x}, "wanted=9"),
    ):
        with pytest.raises(ValueError, match=text):
            builds(spec, **slots)
    scatter = {"rows": 8, "count": 8}
    for dtype, number, options, text in (
        ("float32", 0, {"reduce": "plus"}, "plus"),
        ("bool", 2, {"reduce": "sum"}, "sum"),
        ("float32", 0, {"reduce": "sum", "inner": 2, "width": 2}, "a piece is a row"),
    ):
        spec = _core.ScatterSpec(dtype=dtype, **scatter, **options)
        ends = {"source": ("input", number), "y": ("output", number)}
        with pytest.raises(ValueError, match=text):
            builds(spec, x=("input", number), indices=("input", 1), **ends)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cols", [9, 33, 300, 5000])
def test_nan_and_signed_zeros_in_order(threads: int, isa: str, dtype: str, cols: int) -> None:
    rng = np.random.default_rng(cols)
    special = np.array([np.nan, -np.nan, 0.0, -0.0, np.inf, -np.inf, 1e-40, -1e-40, 1.0], dtype)
    x = rng.choice(special, (3, cols))
    order = np.argsort(x, axis=1, kind="stable")
    for wanted in (1, cols // 5, cols // 2, cols):
        values, positions = programs.sort(dtype, 3, cols, wanted).run([x])
        np.testing.assert_array_equal(positions, order[:, :wanted])
        assert values.tobytes() == np.take_along_axis(x, order[:, :wanted], 1).tobytes()
    back = cols - 1 - np.argsort(x[:, ::-1], axis=1, kind="stable")[:, ::-1]
    values, positions = programs.sort(dtype, 3, cols, cols, True).run([x])
    np.testing.assert_array_equal(positions, back)
    sorted_rows, numbers = np.sort(x, axis=1), rng.choice(special, (3, 40))
    for right, side in ((False, "left"), (True, "right")):
        (y,) = programs.search(dtype, 3, cols, 40, right).run([sorted_rows, numbers])
        want = [
            np.searchsorted(*pair, side=side) for pair in zip(sorted_rows, numbers, strict=True)
        ]
        np.testing.assert_array_equal(y, np.array(want))


def test_running_extremes_of_nan(threads: int, isa: str) -> None:
    nan = np.nan
    x = np.array([[1.0, nan, 3.0, 2.0, nan], [2.0, 2.0, 1.0, 5.0, 5.0]], np.float32)
    values, positions = programs.scan("max", "float32", 2, 5, 1).run([x.reshape(2, 5, 1)])
    np.testing.assert_array_equal(values[0, :, 0], [1, nan, nan, nan, nan])
    np.testing.assert_array_equal(values[1, :, 0], [2, 2, 2, 5, 5])
    np.testing.assert_array_equal(positions[:, :, 0], [[0, 1, 1, 1, 4], [0, 1, 1, 3, 4]])
