# SPDX-License-Identifier: Apache-2.0
"""Element types: Cast and CastLike. float16 and bfloat16 are computed as float32."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamella.foreign.call import is_array, is_sizes
from lamella.foreign.rule import Rule
from lamella.foreign.words import cast, dtype_of, gather
from lamella.onnx import tensors
from lamella.onnx.rules.call import Call
from lamella.onnx.small import SMALL, is_whole

__all__ = ["RULES"]


def _cast(call: Call, x: Any) -> Any:
    target = call.integer("to")
    if not (is_whole(target) or tensors.stored_dtype(target)):
        raise call.unsupported(f"a cast to {tensors.type_name(target)}")
    if is_array(x) and x.dtype == object and not is_sizes(x):
        raise call.unsupported("a cast of text")
    y = cast(x, tensors.dtype(target))
    return _wrapped(call, y, SMALL[target].bits) if target in SMALL else y


def _wrapped(call: Call, x: Any, bits: int) -> Any:
    """Integers of 8 bits modulo 2**bits, by what each of the 256 becomes."""
    if is_sizes(x):
        raise call.unsupported("sizes of fewer than 8 bits")
    dtype, half = dtype_of(x), 2 ** (bits - 1)
    every = np.arange(256) & (2**bits - 1)
    table = ((every ^ half) - half if dtype.kind == "i" else every).astype(dtype)
    return gather(call, table, cast(x, np.dtype(np.int64)), 0)


def _cast_like(call: Call, x: Any, like: Any) -> Any:
    return cast(x, dtype_of(like))


def _bit_cast(call: Call, x: Any) -> Any:
    target = tensors.stored_dtype(call.integer("to"))
    array = call.value(x)
    if target is None or call.integer("to") in (tensors.FLOAT16, tensors.BFLOAT16):
        raise call.unsupported("the bits of a type that is not computed with")
    if target.itemsize != array.dtype.itemsize:
        raise call.malformed("types of different sizes")
    return np.ascontiguousarray(array).view(target).reshape(array.shape)


RULES: dict[tuple[str, int], Rule] = {
    ("Cast", 6): Rule(_cast, "a"),
    ("CastLike", 15): Rule(_cast_like, "a a", gives="1"),
    ("BitCast", 26): Rule(_bit_cast, "e", arrays=True),
}
