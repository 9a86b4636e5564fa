# SPDX-License-Identifier: Apache-2.0
"""Steps that copy and fill, driven through ProgramBuilder without a graph, against NumPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

import programs
from lamella import _core


@pytest.mark.parametrize("dtype", ["bool", "float16", "float32", "float64"])
@pytest.mark.parametrize(
    "shape",
    [
        (),
        (5,),
        (3, 4),
        (16, 16),
        (17, 33),
        (64, 48),
        (1, 7, 1),
        (2, 3, 4),
        (3, 20, 37),
        (2, 3, 2, 5),
    ],
    ids=str,
)
def test_copy_of_any_order_and_direction(
    rng: np.random.Generator, dtype: str, shape: tuple[int, ...]
) -> None:
    for order in itertools.permutations(range(len(shape))):
        for signs in itertools.product((1, -1), repeat=len(shape)):
            dense = programs.strides_of(shape)
            target = tuple(shape[d] for d in order)
            steps = tuple(signs[d] * dense[d] for d in order)
            flat = rng.integers(0, 2 if dtype == "bool" else 1000, max(1, int(np.prod(shape))))
            flat = flat.astype(dtype)
            (y,) = programs.copy(dtype, target, steps, flat.size).run([flat])
            view = flat.reshape(shape)[tuple(slice(None, None, sign) for sign in signs)]
            np.testing.assert_array_equal(y, view.transpose(order))


@pytest.mark.parametrize("item", [1, 2, 4, 8])
def test_copy_of_repeated_and_gapped_values(rng: np.random.Generator, item: int) -> None:
    dtype = {1: "bool", 2: "float16", 4: "float32", 8: "float64"}[item]
    flat = rng.integers(0, 2, 5000).astype(dtype)
    for shape, steps in [
        ((4, 5), (0, 1)),
        ((4, 5), (1, 0)),
        ((4, 500), (500, 0)),
        ((3, 4, 5), (0, 0, 0)),
        ((7, 9), (100, 2)),
        ((70, 90), (2, 50)),
        ((70, 90), (1, 50)),
        ((3, 0, 2), (1, 1, 1)),
        ((5000,), (1,)),
    ]:
        (y,) = programs.copy(dtype, shape, steps, flat.size).run([flat])
        view = as_strided(flat, shape, tuple(step * item for step in steps))
        np.testing.assert_array_equal(y, view)


@pytest.mark.parametrize("shape", [(700, 900), (3, 300, 301), (2, 500_000), (900_000,)], ids=str)
def test_large_copies(threads: int, rng: np.random.Generator, shape: tuple[int, ...]) -> None:
    x = rng.normal(size=shape).astype(np.float32)
    turned = tuple(reversed(shape))
    steps = tuple(reversed(programs.strides_of(shape)))
    (y,) = programs.copy("float32", turned, steps, x.size).run([x.reshape(-1)])
    np.testing.assert_array_equal(y, x.transpose())


def test_copy_into_a_part(rng: np.random.Generator) -> None:
    """Concatenation: two copies write interleaved blocks, and nothing besides."""
    a = rng.normal(size=(6, 5)).astype(np.float32)
    b = rng.normal(size=(6, 3)).astype(np.float32)
    builder = _core.ProgramBuilder(
        inputs=[("float32", a.shape), ("float32", b.shape)], outputs=[("float32", (6, 8))]
    )
    for index, (part, column) in enumerate([(a, 0), (b, 5)]):
        spec = _core.CopySpec(
            item_bytes=4,
            shape=part.shape,
            x_strides=programs.strides_of(part.shape),
            y_strides=(8, 1),
        )
        builder.add(spec, x=builder.input(index), y=builder.output(0).shifted(4 * column))
    (y,) = builder.build().run([a, b])
    np.testing.assert_array_equal(y, np.concatenate([a, b], axis=1))


def test_copy_refusals() -> None:
    builder = _core.ProgramBuilder(inputs=[("float32", (8,))], outputs=[("float32", (8,))])
    x, y = builder.input(0), builder.output(0)
    for item, shape, x_strides, y_strides in [
        (3, (4,), (1,), (1,)),
        (4, (9,), (1,), (1,)),
        (4, (2,), (8,), (1,)),
        (4, (2,), (1,), (8,)),
        (4, (2,), (-1,), (1,)),
        (4, (2,), (1,), (-1,)),
        (4, (2,), (1,), (0,)),
        (4, (2, 2), (2, 1), (1, 1)),
        (4, (2,), (1, 1), (1,)),
    ]:
        spec = _core.CopySpec(
            item_bytes=item, shape=shape, x_strides=x_strides, y_strides=y_strides
        )
        with pytest.raises(ValueError):
            builder.add(spec, x=x, y=y)
    spec = _core.CopySpec(item_bytes=4, shape=(4,), x_strides=(1,), y_strides=(1,))
    with pytest.raises(ValueError, match=r"overlaps|must not write"):
        builder.add(spec, x=y, y=y.shifted(4))


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("float32", 0.1),
        ("float32", float("inf")),
        ("float64", -2.5),
        ("int64", -7),
        ("bool", 1),
        ("int64", -(2**63)),
        ("int32", 2**31 - 1),
        ("uint8", 255),
        ("int8", -128),
    ],
)
def test_fill(dtype: str, value: float) -> None:
    for count in (0, 1, 5, 1000):
        (y,) = programs.fill(dtype, count, value).run([])
        np.testing.assert_array_equal(y, np.full(count, value, dtype))


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("int64", 0.5),
        ("int64", 1e30),
        ("int64", 2.0**63),
        ("bool", 2.0),
        ("int32", 2.0**31),
        ("uint8", -1.0),
        ("uint8", 256.0),
        ("int8", 128.0),
        ("int8", float("nan")),
    ],
)
def test_fill_refuses_what_the_type_cannot_hold(dtype: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"is no {dtype}"):
        programs.fill(dtype, 3, value)
