# SPDX-License-Identifier: Apache-2.0
"""Element types are NumPy's; sizes are judged once; broadcasting and strides are NumPy's."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamella.errors import DTypeError, ShapeError
from lamella.ir.types import (
    DType,
    TensorType,
    broadcast_shapes,
    broadcast_strides,
    contiguous_strides,
    normalize_axis,
)

shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)


@pytest.mark.parametrize("name", [dtype.name for dtype in DType if dtype is not DType.bfloat16])
def test_dtype_is_numpys(name: str) -> None:
    dtype = DType.of(name)
    assert dtype.name == str(dtype) == name
    assert dtype.numpy == np.dtype(name)
    assert dtype.itemsize == np.dtype(name).itemsize
    assert (dtype.is_floating or dtype.is_storage) == name.startswith("float")
    assert dtype.is_integer == ("int" in name)
    assert DType.of(np.dtype(name)) is DType.of(dtype) is dtype


@pytest.mark.parametrize(
    "name", ["complex64", "int16", "uint16", "uint64", "object", "no such type"]
)
def test_other_dtypes_are_refused(name: str) -> None:
    with pytest.raises(DTypeError, match="unknown element type"):
        DType.of(name)


def test_bfloat16_is_told_by_its_name() -> None:
    brain = np.dtype(ml_dtypes.bfloat16)
    assert DType.of(brain) is DType.of("bfloat16") is DType.bfloat16
    assert (DType.bfloat16.numpy, DType.bfloat16.itemsize) == (np.uint16, 2)
    for other in (ml_dtypes.float8_e4m3fn, np.dtype([("bfloat16", "u2")])):
        with pytest.raises(DTypeError, match="unknown element type"):
            DType.of(other)


def test_storage_types_are_not_computed_in() -> None:
    assert DType.computed("to", "int8") is DType.int8
    with pytest.raises(DTypeError, match="to: a type of storage"):
        DType.computed("to", np.float16)


def test_tensor_type() -> None:
    kind = TensorType((2, 3), DType.float32)
    assert (kind.size, kind.nbytes) == (6, 24)
    assert kind == TensorType((2, 3), DType.float32)
    assert kind != TensorType((2, 3), DType.float64)
    assert str(kind) == "float32 (2, 3)"
    assert TensorType((), DType.float64).size == 1
    assert TensorType((0, 2**40), DType.bool).nbytes == 0


@pytest.mark.parametrize(
    "shape", [(2**61,), (2**31, 2**31), (0, 2**62), (2**40, 0, 2**40), (2**70,), (1,) * 65]
)
def test_sizes_beyond_memory_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="larger than any memory"):
        TensorType(shape, DType.float32)


def test_negative_extent_is_refused() -> None:
    with pytest.raises(ShapeError, match="negative extent"):
        TensorType((2, -1), DType.float32)


@given(st.lists(shapes, min_size=1, max_size=3))
def test_broadcast_is_numpys(given_shapes: list[tuple[int, ...]]) -> None:
    try:
        expected = np.broadcast_shapes(*given_shapes)
    except ValueError:
        expected = None
    assert broadcast_shapes(*given_shapes) == expected


@given(shapes)
def test_contiguous_strides_are_numpys(shape: tuple[int, ...]) -> None:
    if 0 in shape:
        return  # NumPy's strides of empty arrays mean nothing
    expected = tuple(stride // 8 for stride in np.empty(shape).strides)
    assert contiguous_strides(shape) == expected


@given(shapes, shapes)
def test_broadcast_strides_read_the_right_elements(
    shape: tuple[int, ...], other: tuple[int, ...]
) -> None:
    target = broadcast_shapes(shape, other)
    if target is None or 0 in target:
        return
    x = np.arange(np.prod(shape), dtype=np.int64).reshape(shape)
    strides = [8 * stride for stride in broadcast_strides(shape, target)]
    view = np.lib.stride_tricks.as_strided(x, target, strides)
    assert np.array_equal(view, np.broadcast_to(x, target))


def test_axes_count_from_either_end() -> None:
    assert [normalize_axis("op", dim, 3) for dim in (-3, -1, 0, 2)] == [0, 2, 0, 2]
    with pytest.raises(ShapeError, match=r"op: no such axis; got dim=3, ndim=3; expected -3 <="):
        normalize_axis("op", 3, 3)
    with pytest.raises(ShapeError, match="at least one axis"):
        normalize_axis("op", 0, 0)
