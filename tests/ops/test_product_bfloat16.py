# SPDX-License-Identifier: Apache-2.0
"""Products with weights of bfloat16: the bits of the float32 product of the widened weights.

Every bfloat16 is a float32, so that the wider product, itself tested in test_product.py, is the
oracle; it goes other ways (panels, dots of terms) with the same sums. `make products` has the
kernels on a grid of sizes. ml_dtypes makes the arrays.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import programs
from comparators import same_bits, within_product_bound
from lamella.errors import DTypeError
from lamella.ir.types import DType, TensorType
from lamella.ops.matmul import Dense, MatMul

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)

# Few rows, tiles, blocks; cut panels and odd terms; narrow; K-blocks, superblocks.
SHAPES = [
    (1, 64, 64), (1, 33, 7), (2, 16, 1), (3, 100, 257), (4, 65, 300), (5, 10, 512), (1, 4, 63),
    (7, 15, 3), (9, 48, 255), (33, 130, 96), (210, 40, 261), (2, 20, 4099), (1, 3, 8200),
]  # fmt: skip


def both(dtype_of_b, m, n, k, a, b, extras, **options):
    """The product with b as it is, and with b widened."""
    results = []
    for given, name in ((b, dtype_of_b), (b.astype(np.float32), "float32")):
        constant = options.pop("constant", None)
        program = programs.matmul(
            "float32", m, n, k, b_dtype=name, constant=given if constant else None, **options
        )
        options["constant"] = constant
        operands = [a, *extras] if constant else [a, given, *extras]
        results.append(program.run(operands)[0])
    return results


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("transpose_b", [True, False])
def test_the_bits_of_the_widened_product(transpose_b, constant, isa, threads, rng):
    for number, (m, n, k) in enumerate(SHAPES):
        a = rng.standard_normal((m, k)).astype(np.float32)
        b = rng.standard_normal((n, k) if transpose_b else (k, n)).astype(BFLOAT16)
        bias, residual = (number % 2 == 0), (number % 3 == 0)
        extras = [rng.standard_normal(n).astype(np.float32)] * bias
        extras += [rng.standard_normal((m, n)).astype(np.float32)] * residual
        got, want = both(
            "bfloat16", m, n, k, a, b, extras, transpose_b=transpose_b, constant=constant,
            bias=bias, residual=residual, activation=("tanh", ()) if number % 2 else None,
        )  # fmt: skip
        same_bits(got, want)


def test_a_row_has_the_same_bits_in_every_batch(isa, rng):
    b = rng.standard_normal((70, 301)).astype(BFLOAT16)
    a = rng.standard_normal((40, 301)).astype(np.float32)
    run = [programs.matmul("float32", m, 70, 301, transpose_b=True, constant=b, b_dtype="bfloat16")
           for m in range(1, 41)]  # fmt: skip
    (whole,) = run[-1].run([a])
    for m in (1, 2, 3, 4, 5, 8, 9, 17, 33):
        same_bits(run[m - 1].run([a[40 - m :]])[0], whole[40 - m :])


def test_in_batches(isa, rng):
    a = rng.standard_normal((3, 6, 31)).astype(np.float32)
    b = rng.standard_normal((3, 31, 24)).astype(BFLOAT16)
    got, want = both("bfloat16", 6, 24, 31, a, b, [], batch=(3,))
    same_bits(got, want)


@pytest.mark.parametrize("value", [0x7F80, 0xFF80, 0x0001, 0x8000, 0x007F, 0x7F7F])
def test_unusual_weights(value, isa):
    """Infinities, subnormal numbers, -0 and the largest are what they are as float32."""
    bits = np.full((5, 40), 0x3F80, np.uint16)
    bits[2, 7:30] = value
    a = np.array([[1.0] * 5, [-1.0] * 5, [0.0] * 5, [2.0**-120] * 5], np.float32)
    got, want = both("bfloat16", 4, 40, 5, a, bits.view(BFLOAT16), [], constant=True)
    same_bits(got, want)


def test_nan_stays_in_its_column(isa):
    bits = np.full((5, 40), 0x3F80, np.uint16)
    bits[4, 9] = 0x7F81
    got, _ = both("bfloat16", 1, 40, 5, np.ones((1, 5), np.float32), bits.view(BFLOAT16), [],
                  constant=True)  # fmt: skip
    assert np.isnan(got[0, 9])
    assert np.isfinite(np.delete(got[0], 9)).all()


def test_few_rows_read_pairs(isa):
    spec = programs.product("float32", 1, 64, 64, constant=True, b_dtype="bfloat16")
    assert spec.way == "packed pairs, pairs"
    narrow = programs.product("float32", 1, 4, 64, constant=True, b_dtype="bfloat16")
    assert narrow.way == "packed terms, dots"


def test_against_a_product_in_double(isa, rng):
    a = rng.standard_normal((6, 300)).astype(np.float32)
    b = rng.standard_normal((50, 300)).astype(BFLOAT16)
    program = programs.matmul(
        "float32", 6, 50, 300, transpose_b=True, constant=b, b_dtype="bfloat16"
    )
    within_product_bound(program.run([a])[0], a, b.astype(np.float32).T)


def test_what_the_op_takes():
    x, w = TensorType((3, 8), DType.float32), TensorType((5, 8), DType.bfloat16)
    assert MatMul(False, True).infer([x, w]) == (TensorType((3, 5), DType.float32),)
    bias = TensorType((5,), DType.float32)
    assert Dense(True, bias=True).infer([x, w, bias]) == (TensorType((3, 5), DType.float32),)
    for bad in ([TensorType((3, 8), DType.float64), w], [w, TensorType((5, 8), DType.float32)]):
        with pytest.raises(DTypeError, match="element types do not fit"):
            MatMul(False, True).infer(bad)
    with pytest.raises(ValueError, match="dtype must be float64"):
        programs.matmul("float64", 3, 5, 8, b_dtype="bfloat16")


def test_the_reference_widens(rng):
    a = rng.standard_normal((3, 8)).astype(np.float32)
    b = rng.standard_normal((8, 5)).astype(BFLOAT16)
    (want,) = MatMul().reference([a, b.astype(np.float32)])
    assert np.array_equal(MatMul().reference([a, b.view(np.uint16)])[0], want)
