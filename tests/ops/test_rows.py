# SPDX-License-Identifier: Apache-2.0
"""Row kernels where they change their way: registers, groups of rows, chunks, far columns.

A row's result is the same alone and among others, on each instruction set with fused multiply-add,
written over its input or not; what is nearly nothing keeps its meaning down to the last subnormal.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import programs
from cases.reduce import row_chain
from comparators import same_bits
from lamella import _core

DTYPES = ("float32", "float64")

# Around a register, a block of four, the widest rows that go in groups, a chunk and several.
COLS = (1, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129, 383, 385, 767, 768, 769, 1000)
COLS += (1023, 1024, 1025, 2047, 2049, 4096, 5003, 8193, 9001)

ROW_KERNELS: dict[str, Callable[[str, int, int], _core.Program]] = {
    "softmax": lambda dtype, rows, cols: programs.softmax(dtype, rows, cols, log=False),
    "log_softmax": lambda dtype, rows, cols: programs.softmax(dtype, rows, cols, log=True),
    "layer_norm": programs.layer_norm,
    "rms_norm": programs.rms_norm,
    "logsumexp": lambda dtype, rows, cols: programs.reduce("logsumexp", dtype, rows, cols, 1),
    "var": lambda dtype, rows, cols: programs.reduce("var", dtype, rows, cols, 1),
    "sum": lambda dtype, rows, cols: programs.reduce("sum", dtype, rows, cols, 1),
    "argmax": lambda dtype, rows, cols: programs.reduce("argmax", dtype, rows, cols, 1),
    "argmin": lambda dtype, rows, cols: programs.reduce("argmin", dtype, rows, cols, 1),
}


def operands(name: str, dtype: str, rows: int, cols: int) -> list[np.ndarray]:
    """Rows, one of them with numbers whose squares overflow; weight and bias where they belong."""
    rng = np.random.default_rng([rows, cols])
    x = rng.normal(size=(rows, cols)).astype(dtype)
    x[rows // 2] *= np.dtype(dtype).type(1e30 if dtype == "float32" else 1e200)
    extra = {"layer_norm": 2, "rms_norm": 1}.get(name, 0)
    flat = ("softmax", "log_softmax", "layer_norm", "rms_norm")
    x = x if name in flat else x.reshape(rows, cols, 1)
    return [x, *(rng.normal(size=cols).astype(dtype) for _ in range(extra))]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ROW_KERNELS)
def test_a_row_among_others(name, dtype, isa):
    for cols in COLS:
        arrays = operands(name, dtype, 7, cols)
        want = ROW_KERNELS[name](dtype, 7, cols).run(arrays)[0].copy()
        alone = ROW_KERNELS[name](dtype, 1, cols)
        for r in range(7):
            same_bits(alone.run([arrays[0][r : r + 1], *arrays[1:]])[0][0], want[r])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ROW_KERNELS)
def test_fused_instruction_sets_agree(name, dtype):
    before = _core.isa()
    found: dict[int, list[np.ndarray]] = {cols: [] for cols in COLS}
    try:
        for isa in set(_core.isas()) - {"baseline"}:
            _core.select_isa(isa)
            for cols in COLS:
                program = ROW_KERNELS[name](dtype, 5, cols)
                found[cols].append(program.run(operands(name, dtype, 5, cols))[0].copy())
    finally:
        _core.select_isa(before)
    for results in found.values():
        for other in results[1:]:
            same_bits(other, results[0])


def softmax_of_negated(dtype: str, rows: int, cols: int, *, log: bool) -> _core.Program:
    """softmax(-x), written over the -x that it reads."""
    shape = (rows, cols)
    builder = _core.ProgramBuilder(inputs=[(dtype, shape)], outputs=[(dtype, shape)])
    out = builder.output(0)
    negate = _core.ElementwiseSpec(
        shape=shape, dtypes=[dtype], strides=[(cols, 1)], code=[("neg", dtype, (0,), ())]
    )
    builder.add(negate, x=[builder.input(0)], y=out)
    builder.add(_core.SoftmaxSpec(dtype=dtype, rows=rows, cols=cols, log=log), x=out, y=out)
    return builder.build()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("log", [False, True])
def test_softmax_over_its_input(log, dtype, isa):
    for cols in COLS:
        x = operands("softmax", dtype, 6, cols)[0]
        want = programs.softmax(dtype, 6, cols, log=log).run([x])[0].copy()
        same_bits(softmax_of_negated(dtype, 6, cols, log=log).run([-x])[0], want)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cols", [5, 40, 1030])
def test_softmax_down_to_the_last_subnormal(cols, dtype, isa):
    """What is far below the largest is as exact as the rest, and 0 only below half a subnormal."""
    largest = 760.0 if dtype == "float64" else 110.0
    distance = np.linspace(0, largest, 40 * cols).reshape(40, cols)[:, ::-1]
    x = (3.0 - distance).astype(dtype)
    x[:, cols // 2] = 3.0
    got = programs.softmax(dtype, 40, cols, log=False).run([x])[0]
    wide = x.astype(np.longdouble)
    d = wide.max(1, keepdims=True) - wide
    e = np.exp(-d)
    want, limits = e / e.sum(1, keepdims=True), np.finfo(dtype)
    # As in cases/softmax.py, and half of what a subnormal number is rounded to.
    roundings = (row_chain(cols) + 8 + d) * want * (limits.eps / 2)
    half = limits.smallest_subnormal.astype(np.longdouble) / 2
    assert (np.abs(got - want) <= roundings + half).all()
    assert (got[d > 2 - np.log(limits.smallest_subnormal)] == 0).all()
    assert 0 < got[got > 0].min() < limits.tiny


@pytest.mark.parametrize("dtype", DTYPES)
def test_masked_columns_change_nothing(dtype, isa):
    """-inf and any number far below count like columns that are not there."""
    for cols in (3, 16, 17, 100, 1024):
        x = np.random.default_rng(cols).normal(size=(3, cols)).astype(dtype)
        want = programs.softmax(dtype, 3, cols, log=False).run([x])[0].copy()
        for low in (-np.inf, -1e9, -3e38):
            padded = np.concatenate([x, np.full((3, 32), low, dtype)], axis=1)
            got = programs.softmax(dtype, 3, cols + 32, log=False).run([padded])[0]
            assert (got[:, cols:] == 0).all()
            same_bits(np.ascontiguousarray(got[:, :cols]), want)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["argmax", "argmin"])
def test_first_extreme(kind, dtype, isa):
    """The first of equal ones, wherever they are, also among infinities and zeros of both signs."""
    pick = np.argmax if kind == "argmax" else np.argmin
    for cols in COLS:
        rng = np.random.default_rng(cols)
        x = rng.integers(-3, 4, (9, cols)).astype(dtype)
        x[3] = 0.0 * np.sign(rng.normal(size=cols))
        x[4], x[5] = np.inf, -np.inf
        x[6, cols // 2 :] = np.inf
        x[7, cols // 3 :] = -np.inf
        x[8] = rng.normal(size=cols)
        program = programs.reduce(kind, dtype, 9, cols, 1)
        np.testing.assert_array_equal(program.run([x[..., None]])[0].ravel(), pick(x, axis=1))


def test_first_extreme_of_a_row_beyond_float_integers():
    """Columns are counted exactly where float32 no longer counts them."""
    cols = (1 << 24) + 5
    x = np.zeros((1, cols, 1), np.float32)
    program = programs.reduce("argmax", "float32", 1, cols, 1)
    for column in (cols - 1, (1 << 24) + 1, (1 << 23) + 1, 3):
        x[0, column] = 2.0
        assert program.run([x])[0].item() == column
