# SPDX-License-Identifier: Apache-2.0
"""Cases of products, of attention, of quantisation and of scikit-learn's preprocessing.

Products with vectors, without terms, without rows; letters repeated in and between the terms of an
equation; scales by element, axis and block; labels and thresholds that are met exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from corners.draw import Case, Draw, Generator, floating, names
from corners.elementwise import drawn

_EXTENTS = (0, 1, 2, 3, 7)


def _factor(d: Draw, shape: Any, dtype: Any) -> np.ndarray[Any, Any]:
    return d.array(shape, dtype, "tame" if d.chance(0.7) else "special") if floating(
        np.dtype(dtype)) else d.array(shape, dtype, "small")  # fmt: skip


def _sides(d: Draw) -> tuple[tuple[int, ...], tuple[int, ...]]:
    m, k, n = (d.pick(_EXTENTS) for _ in range(3))
    lead = d.shape(0, 2, (1, 2, 3))
    first = lead if d.chance() else tuple(1 if d.chance() else n for n in lead)
    second = lead if first != lead or d.chance() else lead[d.integer(0, len(lead)) :]
    a: tuple[int, ...] = (*first, m, k)
    b: tuple[int, ...] = (*second, k, n)
    if d.chance(0.15):
        a = (k,)
    if d.chance(0.15):
        b = (k,)
    return a, b


def matmul(d: Draw) -> Case:
    a, b = _sides(d)
    return d.case([_factor(d, a, d.type(0)), _factor(d, b, d.type(1))])


def gemm(d: Draw) -> Case:
    dtype = d.type(0)
    m, k, n = (d.pick(_EXTENTS) for _ in range(3))
    factors = (0.0, 1.0, 0.5, -2.0) if floating(dtype) else (1.0, 2.0, 0.0)
    attributes = {name: d.pick(factors) for name in ("alpha", "beta") if d.chance()}
    attributes.update({name: d.pick((0, 1)) for name in ("transA", "transB") if d.chance()})
    a = (k, m) if attributes.get("transA") else (m, k)
    b = (n, k) if attributes.get("transB") else (k, n)
    c: tuple[int, ...] | None = d.pick(((m, n), (1, n), (m, 1), (n,), (1,), (), (1, 1), None))
    if d.since < 11 and c is None:
        c = (m, n)
    if d.since < 7:
        c = d.pick(((m, n), (n,)))
        attributes["broadcast"] = int(c != (m, n) or d.chance())
    third = None if c is None else _factor(d, c, dtype)
    return d.case([_factor(d, a, dtype), _factor(d, b, dtype), third], attributes)


_EQUATIONS = names("""ii ii-> ii->i iij iij->ij iij->i iij->j ijj->i ii,i ii,ij bii bii->b
    bij,bjk->bik ii,jj->ij ii,jj iii iii->i ij,jk ji,kj i,i i,j i,i-> kj,ij->
    ...ii->...i ...ii->... i...->... ...->... ij, ,ij iij,jk->k ij,ij->
    ij,ij->ij ...ij,...jk->...ik ...ij,jk b...,b...->b i...j->j...i ij,kl->ijkl
    ijk,k,j->i ij,jk,kl->il iij,jjk->ik ij->ji ij-> ij i-> ...,... ...i,...i
    ZaZ->a ba,bA->aA i,i,i->i""")  # fmt: skip


def einsum(d: Draw) -> Case:
    dtype = d.type(0)
    equation = d.pick(_EQUATIONS)
    sizes: dict[str, int] = {}
    dots = d.shape(0, 2, (1, 2, 3))
    operands = []
    for term in equation.partition("->")[0].split(","):
        shape: list[int] = []
        for letter in term.replace("...", "."):
            if letter == ".":
                shape += [1 if d.chance(0.2) else n for n in dots][d.integer(0, len(dots)) and 0 :]
            else:
                shape.append(sizes.setdefault(letter, d.pick((0, 1, 2, 3, 3))))
        operands.append(_factor(d, shape, dtype))
    if d.chance(0.2):
        equation = equation.replace(",", " , ").replace("->", " -> ")
    return d.case(operands, {"equation": equation})


def matmul_integer(d: Draw) -> Case:
    a, b = _sides(d)
    left, right = d.array(a, d.type(0)), d.array(b, d.type(1))
    zeros: list[np.ndarray | None] = []
    for x, axis in ((left, -2), (right, -1)):
        options: list[tuple[int, ...] | None] = [None, (), ()]
        if x.ndim == 2:
            options += [x.shape[axis : axis + 1 or None]]
        shape = d.pick(options)
        zeros.append(None if shape is None else d.array(shape, x.dtype))
    return d.case([left, right, *zeros])


def _scale(d: Draw, shape: Any, dtype: Any) -> np.ndarray[Any, Any]:
    if not floating(np.dtype(dtype)):
        return np.asarray(d.rng.integers(1, 4, tuple(shape)), dtype)
    values = 2.0 ** d.rng.integers(-4, 3, tuple(shape)) * d.pick((1.0, 1.0, 0.3))
    return np.asarray(values, dtype)


def qlinear_matmul(d: Draw) -> Case:
    m, k, n = (d.pick((1, 2, 3, 7)) for _ in range(3))
    lead = d.shape(0, 1, (1, 2))
    real = d.type(1)
    a = d.array((*lead, m, k), d.type(0))
    b = d.array((k, n) if d.chance() else (*lead, k, n), d.type(3))
    columns = (n,) if b.ndim == 2 and d.chance(0.3) else ()
    operands = [
        a, _scale(d, (), real), d.array((), a.dtype),
        b, _scale(d, columns, real), d.array(columns, b.dtype),
        _scale(d, (), real), d.array((), d.type(7)),
    ]  # fmt: skip
    return d.case(operands)


def _granularity(d: Draw, shape: tuple[int, ...]) -> tuple[tuple[int, ...], dict[str, Any]]:
    """The shape of scale and zero point, and the attributes that say so."""
    if d.since < 13 or not shape or d.chance(0.5):
        return d.pick(((), ())) if d.since < 13 else d.pick(
            ((), (1,) if len(shape) == 1 else ())
        ), {}
    axis = d.axis(len(shape))
    at = axis % len(shape)
    attributes: dict[str, Any] = {"axis": axis}
    if d.since < 21 or d.chance(0.6):
        if at == 1 and d.chance():
            attributes = {}
        return (shape[at],), attributes
    block = d.pick((1, 2, 3))
    blocks = list(shape)
    blocks[at] = -(-shape[at] // block)
    return tuple(blocks), {**attributes, "block_size": block}


def quantize(d: Draw) -> Case:
    shape = d.shape(0, 4, (1, 2, 3, 7))
    real = d.type(0)
    scale_shape, attributes = _granularity(d, shape)
    inputs = d.schema.inputs
    kind = real if inputs[1].type_str == inputs[0].type_str else d.type(1)
    whole = d.type(2, lambda t: t.kind in "iu")
    x = d.array(shape, real, "corner" if d.chance(0.4) else "tame") if floating(real) else d.array(
        shape, real)  # fmt: skip
    zero = None if d.chance(0.3) else d.array(scale_shape, whole)
    if zero is None and "output_dtype" in d.schema.attributes and d.chance():
        attributes["output_dtype"] = d.pick((2, 3, 4, 5))
    return d.case([x, _scale(d, scale_shape, kind), zero], attributes)


def dequantize(d: Draw) -> Case:
    shape = d.shape(0, 4, (1, 2, 3, 7))
    scale_shape, attributes = _granularity(d, shape)
    whole = d.type(0, lambda t: t.kind in "iu")
    real = d.type(1) if d.schema.inputs[1].type_str.startswith("T") else np.dtype(np.float32)
    zero = None if whole == np.int32 or d.chance(0.3) else d.array(scale_shape, whole)
    return d.case([d.array(shape, whole), _scale(d, scale_shape, real), zero], attributes)


def dynamic(d: Draw) -> Case:
    x = d.array(d.shape(0, 3, (1, 2, 3, 7)), np.float32, "tame")
    if d.chance(0.15):
        x = np.abs(x) * np.float32(d.pick((-1, 0, 1)))
    return d.case([x], outputs=3)


def attention(d: Draw) -> Case:
    n, shared, times = d.pick((1, 2)), d.pick((1, 2)), d.pick((1, 1, 2))
    heads = shared * times
    length, keys, width, value_width = (d.pick((1, 2, 3, 5)) for _ in range(4))
    first, second = d.type(0), d.type(2)
    flat = d.chance(0.4)
    attributes: dict[str, Any] = {}

    def head(count: int, t: int, size: int, dtype: Any) -> np.ndarray[Any, Any]:
        shape = (n, t, count * size) if flat else (n, count, t, size)
        return d.array(shape, dtype, "tame")

    q = head(heads, length, width, first)
    k, v = head(shared, keys, width, first), head(shared, keys, value_width, second)
    if flat:
        attributes.update(q_num_heads=heads, kv_num_heads=shared)
    past: list[np.ndarray | None] = [None, None]
    total = keys
    if d.chance(0.3):
        before = d.pick((1, 3))
        total += before
        past = [
            d.array((n, shared, before, size), kind, "tame")
            for size, kind in ((width, first), (value_width, second))
        ]
    mask = None
    if d.chance():
        # Of what the schema lists the text means truth values and floats of the operands' type.
        kind = d.pick((np.dtype(bool), first))
        shape = d.pick(((length, total), (1, 1, length, total), (n, heads, length, total)))
        mask = d.array(shape, kind, "tame" if floating(kind) else "small")
        if floating(kind):
            mask[d.rng.random(shape) < 0.3] = -np.inf
    if d.chance(0.4):
        attributes["is_causal"] = 1
    attributes.update(
        drawn(d, {"scale": (None, 1.0, 0.3), "softcap": (None, None, 2.0),
                  "left_window_size": (None, None, 0, 1), "right_window_size": (None, None, 0, 1)})
    )  # fmt: skip
    lengths = None
    if len(d.schema.inputs) > 6 and past[0] is None and d.chance(0.3):
        lengths = np.asarray(d.rng.integers(1, keys + 1, n), np.int64)
    outputs: tuple[bool, ...] = (True,)
    if past[0] is not None:
        outputs = (True, True, True)
    elif d.chance(0.3):
        outputs = (True, False, False, True)
        attributes["qk_matmul_output_mode"] = d.pick((0, 1, 2, 3))
    if first != second and attributes.get("qk_matmul_output_mode") == 0:
        # Only the reference computes two types, and it gives capped scores for raw ones.
        attributes.pop("softcap", None)
    return d.case([q, k, v, mask, *past, lengths], attributes, outputs)


def rotary(d: Draw) -> Case:
    n, heads, t, half = d.pick((1, 2)), d.pick((1, 2, 3)), d.pick((1, 2, 3)), d.pick((1, 2, 3))
    width = 2 * half + d.pick((0, 0, 2))
    dtype = d.type(0)
    flat = d.chance()
    attributes: dict[str, Any] = {"num_heads": heads} if flat else {}
    if width != 2 * half:
        attributes["rotary_embedding_dim"] = 2 * half
    if d.chance():
        attributes["interleaved"] = d.pick((0, 1))
    x = d.array((n, t, heads * width) if flat else (n, heads, t, width), dtype, "tame")
    if d.chance(0.6):
        tables = [d.array((7, half), dtype, "unit") for _ in range(2)]
        return d.case([x, *tables, d.rng.integers(0, 7, (n, t))], attributes)
    return d.case([x, *(d.array((n, t, half), dtype, "unit") for _ in range(2))], attributes)


def scaler(d: Draw) -> Case:
    shape = (d.pick((0, 1, 3)), d.pick((1, 2, 3)))
    attributes = {}
    count = d.pick((1, shape[1]))
    for name in ("offset", "scale"):
        attributes[name] = d.array((count,), np.float32, "tame").tolist()
    dtype = d.type(0)
    return d.case([d.array(shape, dtype, "tame" if floating(dtype) else "small")], attributes)


def normalizer(d: Draw) -> Case:
    shape = (d.pick((1, 2, 3)), d.pick((1, 2, 3, 7)))
    dtype = d.type(0)
    x = d.array(shape, dtype, "tame" if floating(dtype) else "small")
    if d.chance(0.2):
        x = x * x.dtype.type(0)
    return d.case([x], {} if d.chance(0.2) else {"norm": d.pick(("MAX", "L1", "L2"))})


def binarizer(d: Draw) -> Case:
    threshold = d.pick((None, 0.0, 1.0, -1.0, 0.5))
    x = d.array(d.shape(), d.type(0))
    return d.case([x], {} if threshold is None else {"threshold": threshold})


def features(d: Draw) -> Case:
    shape = d.shape(1, 3, (1, 2, 3, 7))
    x = d.array(shape, d.type(0), "corner")
    index = d.rng.integers(0, shape[-1], d.integer(1, 4))
    return d.case([x, index if d.chance() else index[None]])


def labels(d: Draw) -> Case:
    count = d.integer(1, 4)
    keys_float, values_float = d.chance(), d.chance()
    keys = d.rng.permutation(9)[:count]
    values = d.rng.integers(-5, 5, count)
    attributes: dict[str, Any] = {}
    attributes["keys_floats" if keys_float else "keys_int64s"] = [
        float(n) if keys_float else int(n) for n in keys
    ]
    attributes["values_floats" if values_float else "values_int64s"] = [
        n / 2 if values_float else int(n) for n in values.tolist()
    ]
    if d.chance():
        attributes["default_float" if values_float else "default_int64"] = (
            7.0 if values_float else 7
        )
    x = d.rng.integers(-1, 9, d.shape(1, 2)).astype(np.float32 if keys_float else np.int64)
    return d.case([x], attributes)


_ML = "ai.onnx.ml:"
GENERATORS: dict[str, Generator] = {
    "MatMul": matmul,
    "Gemm": gemm,
    "Einsum": einsum,
    "MatMulInteger": matmul_integer,
    "QLinearMatMul": qlinear_matmul,
    "QuantizeLinear": quantize,
    "DequantizeLinear": dequantize,
    "DynamicQuantizeLinear": dynamic,
    "Attention": attention,
    "RotaryEmbedding": rotary,
    f"{_ML}Scaler": scaler,
    f"{_ML}Normalizer": normalizer,
    f"{_ML}Binarizer": binarizer,
    f"{_ML}ArrayFeatureExtractor": features,
    f"{_ML}LabelEncoder": labels,
}
