# SPDX-License-Identifier: Apache-2.0
"""Element types where scalars meet arrays: PyTorch's, for every kind of scalar and operator.

A NumPy scalar is for us what a Python number is; a 0-d array is what a 0-d tensor is in torch. Type
and values agree in what forward traces and in `functional` on arrays alike. Where torch has int16
lamella has no type, and it refuses numbers that a type does not hold, which torch wraps.
"""

from __future__ import annotations

import itertools
import operator
from typing import Any

import numpy as np
import pytest

import lamella as lm
from lamella import functional as F
from lamella.errors import DTypeError

torch = pytest.importorskip("torch")

WIDTHS = ["bool", "int8", "uint8", "int16", "int32", "int64", "float16", "float32", "float64"]
VALUES = {"b": True, "i": 3, "f": 0.1}
SCALARS: dict[str, Any] = {
    **{f"python {type(value).__name__}": value for value in (True, 3, 0.1)},
    **{
        f"scalar {name}": np.dtype(name).type(VALUES[np.dtype(name).kind.replace("u", "i")])
        for name in WIDTHS
    },
    **{
        f"0-d {name}": np.array(VALUES[np.dtype(name).kind], name)
        for name in ["bool", "int32", "int64", "float32", "float64"]
    },
}
ARRAYS = {
    f"{shape} {name}": np.array(
        np.arange(1, 1 + max(1, sum(shape))).reshape(shape) / (4 if "f" in name else 1), name
    )
    for shape in ((3,), ())
    for name in ("float32", "float64", "bool", "int64", "int32", "uint8", "int8")
}
OPERATORS = {
    "add": (operator.add, torch.add), "sub": (operator.sub, torch.sub),
    "mul": (operator.mul, torch.mul), "div": (operator.truediv, torch.div),
    "floor_divide": (operator.floordiv, torch.floor_divide),
    "remainder": (operator.mod, torch.remainder), "pow": (operator.pow, torch.pow),
    "lt": (operator.lt, torch.lt), "eq": (operator.eq, torch.eq),
    "bitwise_and": (operator.and_, torch.bitwise_and),
    "bitwise_or": (operator.or_, torch.bitwise_or),
    "bitwise_xor": (operator.xor, torch.bitwise_xor),
    "bitwise_left_shift": (operator.lshift, torch.bitwise_left_shift),
    "bitwise_right_shift": (operator.rshift, torch.bitwise_right_shift),
    "maximum": (F.maximum, torch.maximum), "minimum": (F.minimum, torch.minimum),
    "where": (lambda a, b: F.where(np.array([True, False, True]), a, b),
              lambda a, b: torch.where(torch.tensor([True, False, True]), a, b)),
}  # fmt: skip


def theirs(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    return torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value


def oracle(name: str, a: Any, b: Any) -> np.ndarray | None:
    """torch's answer; None where it refuses too, or has a type that lamella does not have."""
    a, b = theirs(a), theirs(b)
    dtype = torch.result_type(a, b)
    if dtype is torch.int16:
        return None
    if name == "div" and not dtype.is_floating_point:
        dtype = torch.get_default_dtype()
    try:
        # Some of its functions take no number: there a number is what it is beside the tensor.
        result = OPERATORS[name][1](*(torch.as_tensor(x, dtype=dtype) for x in (a, b)))
    except (RuntimeError, NotImplementedError):
        return None
    return np.asarray(result.numpy())


def agrees(name: str, a: Any, b: Any, compute: Any) -> str:
    """What differs from torch, "" for nothing."""
    want = oracle(name, a, b)
    try:
        got = np.asarray(compute())
    except DTypeError:
        return "" if want is None or _refused(name, a, b) else f"refused; torch {want.dtype}"
    if want is None:
        return ""
    if got.dtype != want.dtype or got.shape != want.shape:
        return f"{got.dtype} {got.shape}; torch {want.dtype} {want.shape}"
    # Quotients and powers are a rounding or two from torch's, which scales by reciprocals.
    exact = got.dtype.kind != "f" or name in ("add", "sub", "mul", "maximum", "minimum", "where")
    near = 0.0 if exact else 1e-5
    return "" if np.allclose(got, want, near, near) else f"{got}; torch {want}"


def _refused(name: str, a: Any, b: Any) -> bool:
    """What lamella refuses and torch does not: quotients and powers of truth values."""
    truth = all(np.asarray(x).dtype.kind == "b" for x in (a, b))
    return truth and name in ("floor_divide", "remainder", "pow", "bitwise_left_shift",
                              "bitwise_right_shift")  # fmt: skip


def cases() -> list[tuple[str, Any, str, Any]]:
    every = {**SCALARS, **ARRAYS}
    pairs = [(x, y) for x, y in itertools.product(ARRAYS, every)]
    pairs += [(y, x) for x, y in itertools.product(ARRAYS, SCALARS)]
    return [(x, every[x], y, every[y]) for x, y in pairs]


@pytest.mark.parametrize("name", OPERATORS)
def test_functional(name: str) -> None:
    function = getattr(F, name)
    mask = (np.array([True, False, True]),) if name == "where" else ()
    wrong = [
        f"{x}, {y}: {told}"
        for x, a, y, b in cases()
        if (told := agrees(name, a, b, lambda a=a, b=b: function(*mask, a, b)))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", OPERATORS)
def test_forward(name: str) -> None:
    function = OPERATORS[name][0]

    def run(a: Any, b: Any) -> Any:
        # One is an input, the other a number or a constant of the program.
        if isinstance(a, np.ndarray):
            return lm.compile(lambda x: function(x, b), a)(a)
        return lm.compile(lambda y: function(a, y), b)(b)

    wrong = [
        f"{x}, {y}: {told}"
        for x, a, y, b in cases()
        if (told := agrees(name, a, b, lambda a=a, b=b: run(a, b)))
    ]
    assert not wrong, "\n".join(wrong)
