# SPDX-License-Identifier: Apache-2.0
"""Cases of operators that compute each element alone: functions, arithmetic, comparisons, bits.

Operands broadcast in both directions; until opset 6 only where the node says so, the second one
aligned at `axis`. Integers overflow, divide by zero and shift by more bits than they have.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from corners.draw import Case, Draw, Generator, floating, names

# Attributes of functions: None leaves one out.
_SLOPES = (None, 0.0, 1.0, -0.5, 2.5, 1e-3)
_ATTRIBUTES: dict[str, dict[str, tuple[Any, ...]]] = {
    "LeakyRelu": {"alpha": _SLOPES},
    "Elu": {"alpha": _SLOPES},
    "Celu": {"alpha": (None, 1.0, 0.3, 2.5, -0.5)},
    "Selu": {"alpha": _SLOPES, "gamma": _SLOPES},
    "HardSigmoid": {"alpha": _SLOPES, "beta": _SLOPES},
    "ThresholdedRelu": {"alpha": (None, 0.0, 1.0, 0.3, 2.5)},
    "Shrink": {"bias": (None, 0.0, 1.5, -0.5), "lambd": (None, 0.0, 1.5, 0.1)},
    "Gelu": {"approximate": (None, "none", "tanh")},
    "Swish": {"alpha": _SLOPES},
    "IsInf": {"detect_negative": (None, 0, 1), "detect_positive": (None, 0, 1)},
}


def drawn(d: Draw, options: dict[str, tuple[Any, ...]]) -> dict[str, Any]:
    """Attributes by their options, without those that the operator's version lacks."""
    found = {
        name: d.pick(values) for name, values in options.items() if name in d.schema.attributes
    }
    return {name: value for name, value in found.items() if value is not None}


def function(d: Draw) -> Case:
    """One operand."""
    x = d.array(d.shape(), d.type(0))
    return d.case([x], drawn(d, _ATTRIBUTES.get(d.op, {})))


def _pair(d: Draw, first: Any, second: Any, flavour: str = "corner") -> tuple[list, dict[str, Any]]:
    shape = d.shape()
    if d.since >= 7 or d.op not in ("Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Equal",
                                    "Greater", "Less"):  # fmt: skip
        shapes = [shape, d.beside(shape)]
        if d.chance():
            shapes.reverse()
        return [d.array(s, t, flavour) for s, t in zip(shapes, (first, second), strict=True)], {}
    attributes: dict[str, Any] = {}
    other = shape
    if d.chance(0.6):
        attributes["broadcast"] = 1
        start = d.integer(0, len(shape))
        stop = d.integer(start, len(shape))
        if d.chance():
            stop = len(shape)
        other = shape[start:stop]
        if stop < len(shape) or d.chance():
            attributes["axis"] = start
    return [d.array(shape, first, flavour), d.array(other, second, flavour)], attributes


def two(d: Draw) -> Case:
    """Two operands of one type."""
    operands, attributes = _pair(d, d.type(0), d.type(1))
    return d.case(operands, attributes)


def _dies(dividend: np.ndarray, divisor: np.ndarray) -> bool:
    """Whether x86's division would trap: by zero, or the least number by -1."""
    if dividend.dtype.kind not in "iu":
        return False
    least = dividend.size and dividend.dtype.kind == "i" and (
        dividend == np.iinfo(dividend.dtype).min).any()  # fmt: skip
    return bool((divisor == 0).any() or (least and (divisor == -1).any()))


def _spared(d: Draw, operands: list[np.ndarray]) -> bool:
    """Makes most integer divisions defined; gives whether this one is not."""
    dividend, divisor = operands
    if not _dies(dividend, divisor):
        return False
    if d.chance(0.15):
        return True
    divisor[divisor == 0] = 3
    if divisor.dtype.kind == "i":
        divisor[divisor == -1] = -2
    return False


def div(d: Draw) -> Case:
    operands, attributes = _pair(d, d.type(0), d.type(1))
    alone = _spared(d, operands)
    return d.case(operands, attributes, **({"alone": "divides integers by zero"} if alone else {}))


def mod(d: Draw) -> Case:
    operands, attributes = _pair(d, d.type(0), d.type(1))
    # fmod has to be 1 for floats.
    if floating(operands[0].dtype) or d.chance():
        attributes["fmod"] = 1
    elif d.chance():
        attributes["fmod"] = 0
    alone = _spared(d, operands)
    return d.case(operands, attributes, **({"alone": "divides integers by zero"} if alone else {}))


def power(d: Draw) -> Case:
    base, exponent = d.type(0), d.type(1)
    operands, attributes = _pair(d, base, exponent)
    if not floating(base):
        # Integers to integers: what fits. Text: nothing of negative exponents and of overflow.
        operands = [
            d.array(operands[0].shape, base, "small"),
            np.abs(d.array(operands[1].shape, exponent, "small")),
        ]
    return d.case(operands, attributes)


def many(d: Draw) -> Case:
    """Any number of operands, which broadcast from opset 8 on."""
    dtype = d.type(0)
    shape = d.shape()
    count = d.pick((1, 2, 2, 3, 4))
    shapes = [shape, *(d.beside(shape, False) if d.since >= 8 else shape for _ in range(count - 1))]
    order = d.rng.permutation(count)
    flavour = "special" if d.op in ("Sum", "Mean") else "corner"
    return d.case([d.array(shapes[i], dtype, flavour) for i in order])


def bits(d: Draw) -> Case:
    operands, _ = _pair(d, d.type(0), d.type(0))
    return d.case(operands)


def shift(d: Draw) -> Case:
    dtype = d.type(0)
    operands, _ = _pair(d, dtype, dtype)
    width = dtype.itemsize * 8
    beyond = d.chance(0.1)
    amounts = d.rng.integers(0, width + (8 if beyond else 0), operands[1].shape)
    operands[1] = np.asarray(amounts, dtype)
    return d.case(operands, {"direction": d.pick(("LEFT", "RIGHT"))})


def where(d: Draw) -> Case:
    shape = d.shape()
    dtype = d.type(1)
    shapes = [shape, d.beside(shape, False), d.beside(shape, False)]
    c, a, b = (shapes[i] for i in d.rng.permutation(3))
    return d.case([d.array(c, bool), d.array(a, dtype), d.array(b, dtype)])


def clip(d: Draw) -> Case:
    x = d.array(d.shape(), d.type(0))
    if d.since < 11:
        ends = {"min": (None, 0.0, -1.5, 3.0, -3e38), "max": (None, 0.0, 1.5, -2.0, 3e38)}
        return d.case([x], drawn(d, ends))
    flavour = d.pick(("corner", "small", "small"))
    low, high = (None if d.chance(0.25) else d.array((), x.dtype, flavour) for _ in range(2))
    return d.case([x, low, high])


def prelu(d: Draw) -> Case:
    dtype = d.type(0)
    shape = d.shape(1)
    if d.since < 7:
        # One slope, or one a channel.
        slope = (1,) if len(shape) < 2 or d.chance() else (shape[1],)
    else:
        slope = tuple(1 if d.chance(0.4) else n for n in shape)[d.integer(0, len(shape)) :]
    return d.case([d.array(shape, dtype), d.array(slope, dtype)])


def gated(d: Draw) -> Case:
    dtype = d.type(0)
    shape = d.shape()
    operands = [d.array(shape, dtype), d.array(shape, dtype)]
    return d.case(operands, drawn(d, {"alpha": _SLOPES}))


_FUNCTIONS = names("""Abs Neg Sign Exp Log Sqrt Reciprocal Floor Ceil Round Erf Sin Cos Tan Asin
    Acos Atan Sinh Cosh Asinh Acosh Atanh IsNaN IsInf Tanh Sigmoid Softsign
    HardSwish Mish Relu LeakyRelu Elu Celu Selu HardSigmoid Gelu Swish Softplus
    ThresholdedRelu Shrink Not BitwiseNot Identity""")
_TWO = names("Add Sub Mul Equal Greater Less GreaterOrEqual LessOrEqual And Or Xor")

GENERATORS: dict[str, Generator] = {
    **dict.fromkeys(_FUNCTIONS, function),
    **dict.fromkeys(_TWO, two),
    **dict.fromkeys(("Sum", "Max", "Min", "Mean"), many),
    **dict.fromkeys(("BitwiseAnd", "BitwiseOr", "BitwiseXor"), bits),
    "Div": div,
    "Mod": mod,
    "Pow": power,
    "BitShift": shift,
    "Where": where,
    "Clip": clip,
    "PRelu": prelu,
    "SwiGLU": gated,
}
