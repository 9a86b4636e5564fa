# SPDX-License-Identifier: Apache-2.0
"""Properties over random shapes, strides and dtypes: the functional API means what NumPy means.

Arrays are cut out of larger ones with any step, backwards, transposed and broadcast, so that the
path from foreign strides to kernels is taken each time. Values are whole numbers: results are
exact and are compared bit by bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lamella.functional as F
from comparators import same_values

settings.register_profile(
    "lamella",
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("lamella")

DTYPES = st.sampled_from(["float32", "float64"])
EXTENTS = st.integers(0, 7)


@st.composite
def strided(draw, shape: tuple[int, ...], dtype: str, low: int = -6, high: int = 6) -> np.ndarray:
    """Whole numbers of this shape behind arbitrary strides."""
    steps = [draw(st.sampled_from([1, 1, 2, 3, -1, -2])) for _ in shape]
    order = draw(st.permutations(range(len(shape))))
    memory = [shape[axis] * abs(steps[axis]) + 1 for axis in order]
    seed = draw(st.integers(0, 2**32 - 1))
    base = np.random.default_rng(seed).integers(low, high + 1, memory).astype(dtype)
    base = base.transpose(np.argsort(order))
    cut = []
    for extent, step in zip(shape, steps, strict=True):
        if step > 0:
            cut.append(slice(0, extent * step, step))
        else:
            cut.append(slice(extent * -step, 0, step))
    x = base[tuple(cut)]
    assert x.shape == shape
    if draw(st.booleans()):
        x = x.astype(x.dtype.newbyteorder())
    return x


@st.composite
def arrays(draw, low_rank: int = 0, high_rank: int = 4) -> np.ndarray:
    shape = tuple(draw(st.lists(EXTENTS, min_size=low_rank, max_size=high_rank)))
    return draw(strided(shape, draw(DTYPES)))


@st.composite
def broadcastable(draw, count: int) -> list[np.ndarray]:
    """Arrays whose shapes broadcast, of mixed floating dtypes."""
    full = draw(st.lists(st.integers(0, 6), max_size=4))
    result = []
    for _ in range(count):
        skip = draw(st.integers(0, len(full)))
        shape = [1 if draw(st.booleans()) else extent for extent in full[skip:]]
        result.append(draw(strided(tuple(shape), draw(DTYPES))))
    return result


def native(x: np.ndarray) -> np.ndarray:
    return x.astype(x.dtype.newbyteorder("="))


def met(*operands: np.ndarray | np.generic, alone: Any = np.float64) -> list[np.ndarray]:
    """Operands in the dtype in which they meet: arrays with axes decide, then those without.

    alone: the dtype of NumPy scalars, which are numbers, beside nothing floating.
    """
    arrays = [x for x in operands if isinstance(x, np.ndarray)]
    deciding = [x for x in arrays if x.ndim] or arrays
    dtype = np.result_type(*(native(x) for x in deciding)) if deciding else alone
    return [x.astype(dtype) for x in operands]


@given(broadcastable(2), st.sampled_from(["add", "sub", "mul", "maximum", "minimum"]))
def test_binary(pair, name):
    a, b = pair
    numpy_name = {"sub": "subtract", "mul": "multiply"}.get(name, name)
    same_values(
        getattr(F, name)(a, b),
        np.asarray(getattr(np, numpy_name)(*met(a, b, alone=np.result_type(a, b)))),
    )


@given(broadcastable(2), st.sampled_from(["lt", "le", "gt", "ge", "eq", "ne"]))
def test_compare(pair, name):
    a, b = pair
    numpy_name = {"lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal"}
    numpy_name |= {"eq": "equal", "ne": "not_equal"}
    want = getattr(np, numpy_name[name])(*met(a, b))
    same_values(getattr(F, name)(a, b), np.asarray(want))


@given(broadcastable(3))
def test_where(three):
    c, a, b = three
    same_values(F.where(c > 0, a, b), np.where(c > 0, *met(a, b, alone=np.float32)))


@given(arrays(), st.data())
def test_reductions(x, data):
    name = data.draw(st.sampled_from(["sum", "amax", "amin"]))
    count = data.draw(st.integers(0, x.ndim))
    axes = tuple(data.draw(st.permutations(range(x.ndim)))[:count])
    dim = data.draw(st.sampled_from([axes, None])) or None
    signs = data.draw(st.lists(st.booleans(), min_size=8, max_size=8))
    if dim:
        dim = tuple(d - x.ndim if sign else d for d, sign in zip(dim, signs, strict=False))
        if len(dim) == 1 and data.draw(st.booleans()):
            dim = dim[0]
    keepdim = data.draw(st.booleans())
    reduced = range(x.ndim) if dim is None else np.atleast_1d(dim)
    if name != "sum" and 0 in [x.shape[d] for d in reduced]:
        return
    want = getattr(np, name)(native(x), axis=dim, keepdims=keepdim)
    got = getattr(F, name)(x, dim, keepdim)
    same_values(got, np.asarray(want, got.dtype) + np.zeros((), got.dtype))


@given(arrays(1), st.data())
def test_arg_reductions(x, data):
    dim = data.draw(st.integers(-x.ndim, x.ndim - 1))
    if x.shape[dim] == 0:
        return
    for name in ("argmax", "argmin"):
        keepdim = data.draw(st.booleans())
        want = getattr(np, name)(native(x), axis=dim, keepdims=keepdim)
        same_values(getattr(F, name)(x, dim, keepdim), np.asarray(want, np.int64))


@given(arrays(), st.data())
def test_permute_and_transpose(x, data):
    order = tuple(data.draw(st.permutations(range(x.ndim))))
    same_values(
        F.permute(x, order),
        np.ascontiguousarray(native(x).transpose(order)).reshape(
            tuple(x.shape[axis] for axis in order)
        ),
    )
    if x.ndim:
        a, b = (data.draw(st.integers(-x.ndim, x.ndim - 1)) for _ in "ab")
        same_values(F.transpose(x, a, b), np.ascontiguousarray(native(x).swapaxes(a, b)))


@given(arrays(), st.data())
def test_reshape(x, data):
    extents = [extent for extent in x.shape if extent != 1] or [1]
    extents = data.draw(st.permutations(extents))
    cut = data.draw(st.integers(0, len(extents)))
    target = [*extents[:cut], 1, *extents[cut:]]
    if x.size and data.draw(st.booleans()):
        target[data.draw(st.integers(0, len(target) - 1))] = -1
    same_values(F.reshape(x, tuple(target)), native(x).reshape(target).copy())


@given(arrays(1), st.data())
def test_narrow_split_and_join(x, data):
    dim = data.draw(st.integers(-x.ndim, x.ndim - 1))
    extent = x.shape[dim]
    start = data.draw(st.integers(0, extent))
    length = data.draw(st.integers(0, extent - start))
    index = [slice(None)] * x.ndim
    index[dim] = slice(start, start + length)
    same_values(F.narrow(x, dim, start, length), np.ascontiguousarray(native(x)[tuple(index)]))
    if extent:
        size = data.draw(st.integers(1, extent))
        pieces = F.split(x, size, dim)
        want = np.split(native(x), range(size, extent, size), dim)
        for piece, expected in zip(pieces, want, strict=True):
            same_values(piece, np.ascontiguousarray(expected))
        same_values(F.cat(pieces, dim), np.ascontiguousarray(native(x)))


@given(st.data())
def test_concatenate_and_stack(data):
    shape = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=3))
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    dtype = data.draw(DTYPES)
    parts = []
    for _ in range(data.draw(st.integers(1, 4))):
        own = list(shape)
        own[dim] = data.draw(EXTENTS)
        parts.append(data.draw(strided(tuple(own), dtype)))
    same_values(F.cat(parts, dim), np.concatenate([native(x) for x in parts], dim))
    same = [data.draw(strided(tuple(shape), dtype)) for _ in range(3)]
    new = data.draw(st.integers(-len(shape) - 1, len(shape)))
    same_values(F.stack(same, new), np.stack([native(x) for x in same], new))


@given(arrays(), st.data())
def test_expand_and_pad(x, data):
    repeated = [data.draw(EXTENTS) if extent == 1 else extent for extent in x.shape]
    leading = data.draw(st.lists(st.integers(1, 3), max_size=2))
    target = (*leading, *repeated)
    want = np.ascontiguousarray(np.broadcast_to(native(x), target)).reshape(target)
    same_values(F.expand(x, target), want)
    amounts = [(data.draw(st.integers(0, 3)), data.draw(st.integers(0, 3))) for _ in x.shape]
    flat = tuple(amount for pair in reversed(amounts) for amount in pair)
    if flat:
        value = float(data.draw(st.integers(-3, 3)))
        want = np.pad(native(x), amounts, constant_values=value)
        same_values(F.pad(x, flat, value=value), want)


@given(st.data())
def test_matmul(data):
    batch = data.draw(st.lists(st.integers(0, 3), max_size=2))
    m, n, k = (data.draw(st.sampled_from([0, 1, 2, 3, 5, 8, 17])) for _ in "mnk")
    dtype = data.draw(DTYPES)
    shapes = []
    for last in ((m, k), (k, n)):
        skip = data.draw(st.integers(0, len(batch)))
        own = [1 if data.draw(st.booleans()) else extent for extent in batch[skip:]]
        shapes.append((*own, *last))
    if data.draw(st.integers(0, 5)) == 0:
        shapes[0] = (k,)
    if data.draw(st.integers(0, 5)) == 0:
        shapes[1] = (k,)
    a, b = (data.draw(strided(shape, dtype)) for shape in shapes)
    same_values(F.matmul(a, b), np.asarray(np.matmul(native(a), native(b))) + np.zeros((), dtype))


@given(st.data())
def test_linear(data):
    batch = data.draw(st.lists(st.integers(0, 3), max_size=2))
    n, k = data.draw(st.integers(1, 20)), data.draw(st.integers(0, 20))
    dtype = data.draw(DTYPES)
    x, w = data.draw(strided((*batch, k), dtype)), data.draw(strided((n, k), dtype))
    b = data.draw(strided((n,), dtype))
    want = native(x) @ native(w).T + native(b)
    same_values(F.linear(x, w, b), np.asarray(want) + np.zeros((), dtype))


@given(st.data())
def test_embedding(data):
    rows, cols = data.draw(st.integers(1, 6)), data.draw(st.integers(0, 9))
    shape = tuple(data.draw(st.lists(st.integers(0, 4), max_size=3)))
    table = data.draw(strided((rows, cols), data.draw(DTYPES)))
    kind = data.draw(st.sampled_from(["int64", "int32", "uint8"]))
    indices = data.draw(strided(shape, kind, 0, rows - 1))
    same_values(F.embedding(indices, table), native(table)[indices])
