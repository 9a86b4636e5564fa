# SPDX-License-Identifier: Apache-2.0
"""Element types: Cast and CastLike. float16 and bfloat16 are computed as float32."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamella.foreign.call import is_array, is_sizes
from lamella.foreign.rule import Rule
from lamella.foreign.words import cast, dtype_of
from lamella.onnx import tensors
from lamella.onnx.rules.call import Call

__all__ = ["RULES"]


def _cast(call: Call, x: Any) -> Any:
    target = call.integer("to")
    if tensors.stored_dtype(target) is None:
        raise call.unsupported(f"a cast to {tensors.type_name(target)}")
    if is_array(x) and x.dtype == object and not is_sizes(x):
        raise call.unsupported("a cast of text")
    return cast(x, tensors.dtype(target))


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
    ("CastLike", 15): Rule(_cast_like, "a a"),
    ("BitCast", 26): Rule(_bit_cast, "e"),
}
