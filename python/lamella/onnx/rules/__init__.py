# SPDX-License-Identifier: Apache-2.0
"""The rules: what each ONNX operator is in lamella's ops, by operator and since-version.

RULES is a plain dict of the families' dicts; a key is (operator, since-version), with the domain in
front of operators that are not of the main one. An operator is resolved to the newest entry whose
since-version is not above the model's opset; versions that mean the same share an entry.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from lamella.foreign.rule import Rule
from lamella.onnx import tensors
from lamella.onnx.rules import (
    activation,
    arithmetic,
    attention,
    comparison,
    conversion,
    creation,
    elementary,
    integers,
    loss,
    normalization,
    preprocessing,
    product,
    quantized,
    reduction,
    scatter,
    selection,
    shape,
)
from lamella.onnx.small import is_whole

__all__ = ["KNOWN_OPERANDS", "RULES", "STATISTICS", "find", "refusal"]

RULES: dict[tuple[str, int], Rule] = {}
for _family in (
    activation,
    arithmetic,
    attention,
    comparison,
    conversion,
    creation,
    elementary,
    integers,
    loss,
    normalization,
    preprocessing,
    product,
    quantized,
    reduction,
    scatter,
    selection,
    shape,
):
    for _key, _rule in _family.RULES.items():
        assert _key not in RULES, _key
        RULES[_key] = _rule

_VERSIONS: dict[str, list[int]] = {}
for _op, _since in sorted(RULES):
    _VERSIONS.setdefault(_op, []).append(_since)

# Operands whose elements decide shapes or bounds: constants there are not learnt.
KNOWN_OPERANDS: dict[str, tuple[int, ...]] = {
    "Clip": (1, 2),
    "ConstantOfShape": (0,),
    "DequantizeLinear": (1,),
    "Dropout": (1, 2),
    "OneHot": (1, 2),
    "Pad": (1, 2, 3),
    "Range": (0, 1, 2),
}
# Running means and variances: state, but nothing that an optimiser may change.
STATISTICS: dict[str, tuple[int, ...]] = {"BatchNormalization": (3, 4)}


@lru_cache(1024)
def find(op: str, domain: str, version: int) -> Rule | None:
    """The rule of an operator in this opset; None when there is none."""
    key = f"{domain}:{op}" if domain else op
    versions = _VERSIONS.get(key, [])
    position = bisect_right(versions, version)
    return RULES[key, versions[position - 1]] if position else None


def refusal(op: str, attributes: Mapping[str, Any]) -> str:
    """What an operator's attributes ask for that its rule does not do; "" for nothing.

    Said here it is part of the one error of `load`; a rule would say it at the first call.
    """
    if op in ("Cast", "BitCast"):
        target = attributes.get("to")
        known = isinstance(target, int) and tensors.stored_dtype(target) is not None
        if isinstance(target, int) and not known and not (op == "Cast" and is_whole(target)):
            return f"to {tensors.type_name(target)}"
    if op == "BatchNormalization" and attributes.get("training_mode"):
        return "in training"
    if op == "Constant" and not {
        "value",
        "value_float",
        "value_floats",
        "value_int",
        "value_ints",
    } & set(attributes):
        return "of text or sparse"
    return ""
