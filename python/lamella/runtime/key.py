# SPDX-License-Identifier: Apache-2.0
"""When two values of Python are the same to a program: the one definition, as a key.

Numbers, texts and bytes are told apart by type and bits: 1, 1.0 and True differ, 0.0 and -0.0 too,
and NaN is itself. Containers are taken item by item. Everything else is the same as itself only.
The core compares by the same rule at every call (`_core.same_value`), except that to it a container
other than a tuple is the same as itself only, and never part of a signature.
"""

from __future__ import annotations

import struct
from collections.abc import Hashable
from dataclasses import fields
from typing import Any

import numpy as np

__all__ = ["static_key"]


def static_key(value: Any, keep: list[Any]) -> Hashable:
    """A key that is equal for what is the same to a program.

    keep: receives the objects whose identity the key contains; no other object can take their
    place while they live.
    """
    kind = type(value)
    if kind in (int, bool, str, bytes, type(None)):
        return kind, value
    if kind is float:
        return kind, struct.pack("d", value)
    if kind is complex:
        return kind, struct.pack("dd", value.real, value.imag)
    if isinstance(value, tuple | list):
        return kind, tuple([static_key(item, keep) for item in value])
    if kind in (set, frozenset):
        return kind, frozenset([static_key(item, keep) for item in value])
    if kind is dict:
        items = [(static_key(key, keep), static_key(item, keep)) for key, item in value.items()]
        return kind, tuple(items)
    if isinstance(value, np.dtype):
        return kind, value
    if kind in (slice, range):
        ends = value.start, value.stop, value.step
        return kind, tuple([static_key(end, keep) for end in ends])
    # The bytes of dates do not tell their unit; records change in place.
    if isinstance(value, np.generic) and not isinstance(
        value, np.void | np.datetime64 | np.timedelta64
    ):
        return kind, bytes(value.data)
    parameters = getattr(kind, "__dataclass_params__", None)
    if parameters is not None and parameters.frozen and parameters.eq:
        items = [getattr(value, field.name) for field in fields(value)]
        return kind, tuple([static_key(item, keep) for item in items])
    keep.append(value)
    return kind, id(value)
