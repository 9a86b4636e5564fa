# SPDX-License-Identifier: Apache-2.0
"""Matrix products: exact on whole numbers in every shape, within Higham's bound on real ones.

Exactness is tested on the kernels (programs of one step) over the whole grid of shapes, and on
nn.Linear and F.matmul over a thinner one; transposed, constant (packed ahead) and with epilogue.
"""

from __future__ import annotations

import numpy as np
import pytest

import lamella.functional as F
import programs
from cases import matmul as cases
from comparators import UNIT, product_chain, same_bits, within_product_bound
from lamella import nn

DTYPES = ("float32", "float64")


def check_exact(dtype, m, n, k, rng, *, transpose_a=False, transpose_b=False, constant=False):
    a, b = cases.whole(rng, (m, k), dtype), cases.whole(rng, (k, n), dtype)
    want = (a.astype(np.float64) @ b.astype(np.float64)).astype(dtype)
    stored_a = np.ascontiguousarray(a.T) if transpose_a else a
    stored_b = np.ascontiguousarray(b.T) if transpose_b else b
    program = programs.matmul(
        dtype,
        m,
        n,
        k,
        transpose_a=transpose_a,
        transpose_b=transpose_b,
        constant=stored_b if constant else None,
    )
    (got,) = program.run([stored_a] if constant else [stored_a, stored_b])
    if not np.array_equal(got, want):
        pytest.fail(f"{m}x{n}x{k} {dtype} ta={transpose_a} tb={transpose_b} constant={constant}")


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize(("transpose_a", "transpose_b"), cases.TRANSPOSES)
def test_exact_on_the_grid(transpose_a, transpose_b, constant, isa, rng):
    for m, n, k in cases.SHAPES:
        check_exact(
            "float32",
            m,
            n,
            k,
            rng,
            transpose_a=transpose_a,
            transpose_b=transpose_b,
            constant=constant,
        )


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize(("transpose_a", "transpose_b"), cases.TRANSPOSES)
def test_exact_in_double(transpose_a, transpose_b, constant, isa, rng):
    for m, n, k in cases.FEW_SHAPES:
        check_exact(
            "float64",
            m,
            n,
            k,
            rng,
            transpose_a=transpose_a,
            transpose_b=transpose_b,
            constant=constant,
        )


def test_exact_when_large(isa, threads, rng):
    for index, (m, n, k) in enumerate(cases.large_shapes(200)):
        transpose_a, transpose_b = cases.TRANSPOSES[index % 4]
        check_exact(
            DTYPES[index % 3 == 2],
            m,
            n,
            k,
            rng,
            transpose_a=transpose_a,
            transpose_b=transpose_b,
            constant=index % 8 >= 4,
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("constant", [False, True])
def test_exact_epilogue(constant, dtype, isa, rng):
    for m, n, k in cases.FEW_SHAPES:
        a, b = cases.whole(rng, (m, k), dtype), cases.whole(rng, (k, n), dtype)
        bias, residual = cases.whole(rng, (n,), dtype), cases.whole(rng, (m, n), dtype)
        for with_bias, with_residual in ((True, False), (False, True), (True, True)):
            program = programs.matmul(
                dtype,
                m,
                n,
                k,
                constant=b if constant else None,
                bias=with_bias,
                residual=with_residual,
                activation=("relu", ()),
            )
            inputs = [a] if constant else [a, b]
            want = a @ b
            if with_bias:
                inputs.append(bias)
                want = want + bias
            if with_residual:
                inputs.append(residual)
                want = want + residual
            same_bits(program.run(inputs)[0].copy(), np.maximum(want, 0) + np.zeros((), dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_exact_in_batches(dtype, isa, rng):
    for batch in ((2,), (2, 3), (1,), (0,)):
        for m, n, k in ((3, 5, 7), (6, 16, 9), (7, 33, 20), (1, 16, 4)):
            a, b = cases.whole(rng, (*batch, m, k), dtype), cases.whole(rng, (*batch, k, n), dtype)
            program = programs.matmul(dtype, m, n, k, batch=batch)
            same_bits(program.run([a, b])[0].copy(), a @ b)


@pytest.mark.parametrize("dtype", DTYPES)
def test_exact_through_layers_and_functions(dtype, isa, rng):
    for m, n, k in cases.FEW_SHAPES[::3]:
        a, b = cases.whole(rng, (m, k), dtype), cases.whole(rng, (k, n), dtype)
        bias = cases.whole(rng, (n,), dtype)
        want = a @ b
        same_bits(F.matmul(a, b), want)
        same_bits(F.matmul(a, np.asfortranarray(b)), want)
        same_bits(F.linear(a, np.ascontiguousarray(b.T), bias), want + bias)
        layer = nn.Linear(k, n)
        if dtype == "float64":
            layer.double()
        layer.load_state_dict({"weight": np.ascontiguousarray(b.T), "bias": bias})
        same_bits(layer(a), want + bias)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("k", cases.GAUGE_K)
def test_error_within_the_bound(k, positive, dtype, isa, rng):
    if k > 10000 and dtype == "float64":
        pytest.skip("longdouble has no fast product; float32 takes the same path")
    for n in (7, 24):
        a, b = rng.normal(size=(24, k)).astype(dtype), rng.normal(size=(k, n)).astype(dtype)
        if positive:
            a, b = np.abs(a), np.abs(b)
        got = programs.matmul(dtype, 24, n, k).run([a, b])[0].copy()
        within_product_bound(got, a, b)
        bias, residual = rng.normal(size=n).astype(dtype), rng.normal(size=(24, n)).astype(dtype)
        program = programs.matmul(dtype, 24, n, k, constant=b, bias=True, residual=True)
        got = program.run([a, bias, residual])[0].copy()
        within_product_bound(got, a, b, addends=(bias, residual), extra=5)


@pytest.mark.parametrize("k", [1000, 4096])
def test_a_random_product_errs_far_less_than_the_bound(k, isa, rng):
    """Rounding errors cancel: the bound alone would not notice a lost bit of precision."""
    a = rng.normal(size=(24, k)).astype(np.float32)
    b = rng.normal(size=(k, 24)).astype(np.float32)
    got = programs.matmul("float32", 24, 24, k).run([a, b])[0]
    exact = a.astype(np.float64) @ b.astype(np.float64)
    scale = np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64)
    units = np.abs(got - exact) / (UNIT[np.dtype(np.float32)] * scale)
    assert units.max() < product_chain(k) ** 0.5 / 4


def test_a_far_matrix_stored_by_columns_leaves_no_copy_behind():
    for m, copied in ((8, 0), (4096, 4 * 2048 * 2048)):
        spec = programs.product("float32", m, 2048, 2048, transpose_b=True)
        assert spec.scratch_bytes == copied
