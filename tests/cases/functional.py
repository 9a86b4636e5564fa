# SPDX-License-Identifier: Apache-2.0
"""One valid call of every function of lamella.functional: the ground from which calls are spoiled.

A function without a row here fails tests/hostile/test_functional.py, so that a new function cannot
stay untested. Arrays are C-contiguous, native and of the dtype asked for unless the function wants
indices or masks.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from lamella import functional as F
from lamella.ops.tables import UNARY

# Positional and keyword arguments of a call.
Call = tuple[tuple[Any, ...], dict[str, Any]]


def array(*shape: int, dtype: str, seed: int = 90) -> np.ndarray:
    """Values in 0.25..1, inside every function's domain."""
    return np.random.default_rng(seed).uniform(0.25, 1, shape).astype(dtype)


def mask(*shape: int) -> np.ndarray:
    return np.random.default_rng(91).integers(0, 2, shape).astype(bool)


def _one(dtype: str) -> Call:
    return (array(5, 6, dtype=dtype),), {}


def _two(dtype: str) -> Call:
    return (array(5, 6, dtype=dtype), array(6, dtype=dtype, seed=92)), {}


def _masks(dtype: str) -> Call:
    return (mask(5, 6), mask(5, 1)), {}


def _whole(*shape: int, seed: int = 105) -> np.ndarray:
    """Integers below 8."""
    return np.random.default_rng(seed).integers(0, 8, shape)


def _integers(dtype: str) -> Call:
    return (_whole(5, 6), _whole(6, seed=106)), {}


def _with(*rest: Any, **named: Any) -> Callable[[str], Call]:
    """One array of shape (5, 6) and fixed other arguments."""
    return lambda dtype: ((array(5, 6, dtype=dtype), *rest), named)


def _pieces(dtype: str) -> Call:
    return ([array(5, 6, dtype=dtype), array(5, 6, dtype=dtype, seed=93)],), {"dim": 1}


def _columns(count: int) -> Callable[[str], Call]:
    """x (5, 6) and `count` arrays of shape (6,)."""

    def call(dtype: str) -> Call:
        rest = [array(6, dtype=dtype, seed=94 + index) for index in range(count)]
        return (array(5, 6, dtype=dtype), *rest), {}

    return call


def _linear(dtype: str) -> Call:
    parts = array(5, 6, dtype=dtype), array(3, 6, dtype=dtype, seed=95), array(3, dtype=dtype)
    return parts, {}


def _bilinear(dtype: str) -> Call:
    return (
        array(5, 6, dtype=dtype),
        array(5, 4, dtype=dtype, seed=96),
        array(3, 6, 4, dtype=dtype, seed=97),
        array(3, dtype=dtype, seed=98),
    ), {}


def _matmul(dtype: str) -> Call:
    return (array(2, 5, 6, dtype=dtype), array(6, 4, dtype=dtype, seed=99)), {}


def _embedding(dtype: str) -> Call:
    return (np.array([[0, 3, 1], [2, 2, 0]]), array(4, 6, dtype=dtype)), {}


def _layer_norm(dtype: str) -> Call:
    (x, weight, bias), _ = _columns(2)(dtype)
    return (x, (6,), weight, bias), {}


def _rms_norm(dtype: str) -> Call:
    (x, weight), _ = _columns(1)(dtype)
    return (x, (6,), weight), {}


def _batch_norm(dtype: str) -> Call:
    return _columns(4)(dtype)


def _classes(shape: tuple[int, ...]) -> np.ndarray:
    """Indices below 4."""
    return np.random.default_rng(100).integers(0, 4, shape)


def _class_loss(dtype: str) -> Call:
    return (array(5, 4, 3, dtype=dtype), _classes((5, 3)), array(4, dtype=dtype, seed=101)), {}


def _alike(dtype: str) -> Call:
    """Two arrays of one shape."""
    return (array(5, 6, dtype=dtype), array(5, 6, dtype=dtype, seed=102)), {}


def _binary_loss(dtype: str) -> Call:
    return (*_alike(dtype)[0], array(6, dtype=dtype, seed=103)), {}


def _labelled(dtype: str) -> Call:
    return (array(5, 6, dtype=dtype), 2.0 * mask(5, 6).astype(dtype) - 1), {"margin": 0.75}


def _labelled_pairs(dtype: str) -> Call:
    return (*_alike(dtype)[0], 2.0 * mask(5).astype(dtype) - 1), {"margin": 0.75}


def _gaussian(dtype: str) -> Call:
    return (*_alike(dtype)[0], array(5, dtype=dtype, seed=104)), {}


def _split(dtype: str) -> Call:
    left, right = _alike(dtype)[0]
    return (left + right, [left, right]), {}


def _entries(*rest: Any) -> Callable[[str], Call]:
    """Entries of an axis put into an array."""

    def call(dtype: str) -> Call:
        parts = array(5, 6, dtype=dtype), 1, np.array([4, 0]), array(5, 2, dtype=dtype)
        return (*parts, *rest), {}

    return call


def _elements(*rest: Any, **named: Any) -> Callable[[str], Call]:
    """Elements put into an array, several in one place."""

    def call(dtype: str) -> Call:
        parts = array(5, 6, dtype=dtype), 0, _classes((7, 6)), array(7, 6, dtype=dtype, seed=105)
        return (*parts, *rest), named

    return call


def _where(dtype: str) -> Call:
    return (mask(5, 6), array(5, 6, dtype=dtype), array(6, dtype=dtype, seed=92)), {}


def _attention(dtype: str) -> Call:
    shapes = (2, 5, 6), (2, 3, 6), (2, 3, 4)
    return tuple(array(*shape, dtype=dtype, seed=108 + shape[1]) for shape in shapes), {}


def _stacks(dtype: str) -> Call:
    return (array(2, 5, 6, dtype=dtype), array(2, 6, 4, dtype=dtype, seed=106)), {}


# What every call draws anew.
DRAWN = ("rand", "randint", "randn", "rand_like", "randn_like", "bernoulli")


def _bytes(*shape: int) -> np.ndarray:
    return np.random.default_rng(105).integers(0, 256, shape, np.uint8)


def _per_channel(dtype: str) -> Call:
    return (array(5, 6, dtype=dtype), array(5, dtype=dtype, seed=106)), {}


def _dequantize(dtype: str) -> Call:
    return (_bytes(5, 6), array(5, dtype=dtype), _bytes(5), 0), {}


def _matmul_integer(dtype: str) -> Call:
    return (_bytes(5, 6), _bytes(6, 4).view(np.int8), _bytes(5)), {}


# Functions of one element take one array, losses two of one shape, where no row says otherwise.
_ELEMENTWISE = sorted(UNARY.keys() & set(F.__all__))
_LOSSES = [n for n in F.__all__ if "reduction" in inspect.signature(getattr(F, n)).parameters]
_PAIRS = """add div eq floor_divide ge gt le lt maximum minimum mul ne pow remainder sub"""
_REDUCTIONS = "amax amin mean prod std sum var"

CALLS: dict[str, Callable[[str], Call]] = {
    **dict.fromkeys(_ELEMENTWISE, _one),
    **dict.fromkeys(_LOSSES, _alike),
    **dict.fromkeys(_PAIRS.split(), _two),
    **dict.fromkeys(("logical_and", "logical_or", "logical_xor"), _masks),
    "logical_not": lambda dtype: ((mask(5, 6),), {}),
    **dict.fromkeys(("bitwise_and", "bitwise_or", "bitwise_xor"), _integers),
    **dict.fromkeys(("bitwise_left_shift", "bitwise_right_shift"), _integers),
    "bitwise_not": lambda dtype: ((_whole(5, 6),), {}),
    **dict.fromkeys(("zeros", "ones"), lambda dtype: ((5, 6), {"dtype": dtype})),
    "full": lambda dtype: (((5, 6), 2.5), {"dtype": dtype}),
    "arange": lambda dtype: ((1, 9, 2), {"dtype": dtype}),
    "eye": lambda dtype: ((5, 6), {"dtype": dtype}),
    **dict.fromkeys(("zeros_like", "ones_like"), _one),
    "full_like": _with(2.5),
    **{name: _with(dim=1) for name in (*_REDUCTIONS.split(), "logsumexp", "max", "min")},
    "argmax": _with(dim=1),
    "argmin": _with(dim=1),
    **{name: _with(dim=1) for name in ("all", "any")},
    "softmax": _with(-1),
    "log_softmax": _with(-1),
    "softmin": _with(-1),
    "acosh": lambda dtype: ((1 + array(5, 6, dtype=dtype),), {}),
    "clamp": _with(0.3, 0.7),
    "threshold": _with(0.5, 2.0),
    "glu": _with(-1),
    "maxout": _with(2),
    "prelu": lambda dtype: ((array(5, 6, dtype=dtype), array(6, dtype=dtype)), {}),
    "where": _where,
    "linear": _linear,
    "bilinear": _bilinear,
    "matmul": _matmul,
    "embedding": _embedding,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "batch_norm": _batch_norm,
    **dict.fromkeys(("cross_entropy", "nll_loss"), _class_loss),
    "cosine_similarity": _alike,
    **dict.fromkeys(("binary_cross_entropy", "binary_cross_entropy_with_logits"), _binary_loss),
    "gaussian_nll_loss": _gaussian,
    "hinge_embedding_loss": _labelled,
    "cosine_embedding_loss": _labelled_pairs,
    "entropy": _with(1),
    "information_gain": _split,
    "dropout": _with(0.5, training=False),
    "reshape": _with((6, 5)),
    "view": _with((6, 5)),
    "flatten": _with(0),
    "unflatten": _with(1, (2, 3)),
    "transpose": _with(0, 1),
    "permute": _with((1, 0)),
    "squeeze": _with(0),
    "unsqueeze": _with(0),
    "expand": lambda dtype: ((array(1, 6, dtype=dtype), (5, 6)), {}),
    "broadcast_to": lambda dtype: ((array(1, 6, dtype=dtype), (5, 6)), {}),
    "split": _with(2, 1),
    "chunk": _with(3, 1),
    "slice": _with(1, 0, 4),
    "narrow": _with(1, 2, 3),
    "select": _with(1, 2),
    "pad": _with((1, 2)),
    **dict.fromkeys(("index_copy", "index_add"), _entries()),
    "index_reduce": _entries("mean"),
    "index_fill": _with(1, np.array([4, 0]), 2.0),
    "index_select": _with(1, np.array([4, 0, 4])),
    "gather": _with(1, _classes((5, 2))),
    "take_along_dim": _with(_classes((5, 2)) - 4, 1),
    **dict.fromkeys(("scatter", "scatter_add"), _elements()),
    "scatter_reduce": _elements("amax", include_self=False),
    "masked_fill": _with(mask(5, 6), 2.0),
    "masked_select": _with(mask(5, 6)),
    "nonzero": _one,
    "unique_consecutive": _one,
    "bincount": lambda dtype: ((_classes((9,)), array(9, dtype=dtype)), {}),
    "masked_scatter": lambda dtype: (
        (array(5, 6, dtype=dtype), mask(5, 6), array(30, dtype=dtype)),
        {},
    ),
    "group_norm": _with(3),
    "instance_norm": lambda dtype: ((array(2, 3, 4, dtype=dtype),), {}),
    "local_response_norm": lambda dtype: ((array(2, 5, 4, dtype=dtype), 3), {}),
    "scaled_dot_product_attention": _attention,
    "einsum": lambda dtype: (("ij,kj->ik", *_linear(dtype)[0][:2]), {}),
    "normalize": _with(1.0),
    "norm": _with(3.0, dim=1),
    "pairwise_distance": _alike,
    "clip": _with(0.3, 0.7),
    "lerp": lambda dtype: ((*_alike(dtype)[0], 0.25), {}),
    "addcmul": lambda dtype: ((*_two(dtype)[0], array(5, 1, dtype=dtype)), {"value": 0.5}),
    "addcdiv": lambda dtype: ((*_two(dtype)[0], array(5, 1, dtype=dtype)), {"value": 0.5}),
    **dict.fromkeys(("hypot", "logaddexp"), _two),
    "nan_to_num": _with(0.5),
    "detach": _one,
    "flip": _with((0, 1)),
    "rot90": _with(1, (0, 1)),
    "roll": _with((2, 3), (0, 1)),
    "repeat": _with(2, 1),
    "tile": _with(2, 1),
    "repeat_interleave": _with(2, 1),
    "unbind": _with(1),
    "movedim": _with(0, 1),
    "swapaxes": _with(0, 1),
    "tril": _with(1),
    "triu": _with(1),
    "diagonal": _with(1),
    "diag": _with(1),
    "diag_embed": _with(1),
    "dot": lambda dtype: ((array(6, dtype=dtype), array(6, dtype=dtype, seed=105)), {}),
    "outer": lambda dtype: ((array(6, dtype=dtype), array(5, dtype=dtype, seed=105)), {}),
    "inner": _two,
    "mv": _two,
    "mm": lambda dtype: ((array(5, 6, dtype=dtype), array(6, 4, dtype=dtype, seed=106)), {}),
    "bmm": _stacks,
    "addmm": lambda dtype: (
        (array(4, dtype=dtype), array(5, 6, dtype=dtype), array(6, 4, dtype=dtype, seed=106)),
        {"beta": 0.5},
    ),
    "baddbmm": lambda dtype: ((array(4, dtype=dtype), *_stacks(dtype)[0]), {"beta": 0.5}),
    "cross": lambda dtype: (
        (array(5, 3, dtype=dtype), array(5, 3, dtype=dtype, seed=107)),
        {"dim": 1},
    ),
    # Of no elements, and of probabilities that leave nothing to chance.
    **dict.fromkeys(("rand", "randn"), lambda dtype: ((5, 0), {"dtype": dtype})),
    **dict.fromkeys(("rand_like", "randn_like"), lambda dtype: ((array(0, 6, dtype=dtype),), {})),
    "bernoulli": _with(1.0),
    "randint": lambda dtype: ((3, 4, (2, 3)), {"dtype": dtype}),
    "one_hot": lambda dtype: ((_classes((5, 3)), 4), {}),
    **dict.fromkeys(("cumsum", "cumprod", "cummax", "cummin"), _with(1)),
    **dict.fromkeys(("sort", "argsort"), _with(1, descending=True)),
    "topk": _with(2, 1),
    "searchsorted": lambda dtype: (
        (np.sort(array(9, dtype=dtype)), array(5, 6, dtype=dtype)),
        {"right": True},
    ),
    "bucketize": lambda dtype: ((array(5, 6, dtype=dtype), np.sort(array(9, dtype=dtype))), {}),
    "quantize_per_tensor": _with(0.01, 3, "int8"),
    "quantize_per_channel": _per_channel,
    "quantize_dynamic": _one,
    "dequantize": _dequantize,
    "matmul_integer": _matmul_integer,
    "cat": _pieces,
    "concat": _pieces,
    "stack": _pieces,
}


def arrays_in(call: Call) -> list[tuple[object, np.ndarray]]:
    """Where arrays stand in a call: (position or name, array), for arrays given one by one."""
    args, kwargs = call
    places = [(index, value) for index, value in enumerate(args) if isinstance(value, np.ndarray)]
    return [*places, *((k, v) for k, v in kwargs.items() if isinstance(v, np.ndarray))]


def replaced(call: Call, place: object, value: Any) -> Call:
    """The call with another value at one place."""
    args, kwargs = call
    if isinstance(place, int):
        return (*args[:place], value, *args[place + 1 :]), kwargs
    return args, {**kwargs, place: value}
