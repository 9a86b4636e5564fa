# SPDX-License-Identifier: Apache-2.0
"""What a model needs and lamella does not have, collected and raised once.

An operator stands there once, with its version, how many nodes have it and the first of them; the
nodes of bodies (If, Loop, Scan) and of functions count. Tensors in other files, which are not read
unless asked for, are one sentence, with the cure in the words of whoever asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, Protocol

from lamella.errors import UnsupportedError, message
from lamella.onnx import tensors
from lamella.onnx.model import GraphProto, NodeProto, TensorProto
from lamella.storage.source import quoted

__all__ = ["BY_ARGUMENT", "BY_PATH", "ExternalData", "Refusals", "graphs"]

BY_ARGUMENT = "Pass external_data=True, for a model that you trust with its folder"
BY_PATH = "Load the model by its path, with external_data=True"
# Kinds of faults in one message: real models have tens, hostile ones as many as they like.
_LISTED = 200


class ExternalData(UnsupportedError):
    """Tensors lie in other files, and nobody asked for these to be read."""

    def __init__(self, told: str, cure: str) -> None:
        super().__init__(f"{told}. {cure}")
        self.told = told

    def advised(self, cure: str) -> ExternalData:
        """The same with another cure."""
        return ExternalData(self.told, cure)

    def __reduce__(self) -> Any:
        return ExternalData, (self.told, str(self)[len(self.told) + 2 :])


class _Named(Protocol):
    """A node, as far as messages name it."""

    @property
    def name(self) -> str: ...
    @property
    def op_type(self) -> str: ...
    @property
    def outputs(self) -> tuple[str, ...]: ...


class Refusals:
    """The faults of one model, in the order in which they were met."""

    def __init__(self) -> None:
        # Kind of fault -> how many nodes have it and the first of them; none for what is no node.
        self._kinds: dict[str, tuple[int, str]] = {}
        self._external: dict[str, tuple[int, int]] = {}

    def node(self, node: _Named, domain: str, version: int, why: str = "") -> None:
        """A node without a rule, or with a use of its operator that has none."""
        op = node.op_type if node.op_type.isidentifier() else quoted(node.op_type)
        kind = f"{op[:80]}-{version}" + (f" ({quoted(domain)[1:-1]})" if domain else "")
        kind += f" {why}" if why else ""
        count, first = self._kinds.get(kind, (0, ""))
        if not count:
            output = next(iter(node.outputs), "")
            first = f" at {quoted(node.name)}" if node.name else f" making {quoted(output)}"
        self._kinds[kind] = (count + 1, first)

    def other(self, fault: str) -> None:
        """Anything else."""
        self._kinds.setdefault(fault, (0, ""))

    def external(self, tensor: TensorProto) -> None:
        """A tensor in another file that is not read."""
        where = dict(tensor.external).get("location", "")
        stored = tensors.stored_dtype(tensor.data_type)
        size = prod(tensor.dims) * (stored.itemsize if stored else 0)
        count, total = self._external.get(where, (0, 0))
        self._external[where] = (count + 1, total + max(size, 0))

    def judge(self, cure: str) -> None:
        """Raises what was collected, if anything was; cure: how to have other files read."""
        listed = [
            kind + (f"{first} ({count} node{'s' * (count > 1)})" if count else "")
            for kind, (count, first) in self._kinds.items()
        ]
        text = ""
        if listed:
            text = message(
                "onnx.load", "the model needs what has no rule: " + " | ".join(listed[:_LISTED])
            )
            if len(listed) > _LISTED:
                text += f" | and {len(listed) - _LISTED} more"
        if self._external:
            files = list(self._external)
            told: Mapping[str, object] = {
                "file": ", ".join(map(quoted, files[:3])) + (", ..." if len(files) > 3 else ""),
                "tensors": sum(count for count, _ in self._external.values()),
                "bytes": sum(size for _, size in self._external.values()),
            }
            rule = "tensors lie beside the model in a file that is read only when asked for"
            one = message("onnx.load", rule, told)
            raise ExternalData(f"{text}. {one}" if text else one, cure)
        if text:
            raise UnsupportedError(text)


def graphs(node: NodeProto) -> list[GraphProto]:
    """The bodies that a node holds in its attributes."""
    found: list[GraphProto] = []
    for attribute in node.attributes:
        values = attribute.value if isinstance(attribute.value, tuple) else (attribute.value,)
        found.extend(value for value in values if isinstance(value, GraphProto))
    return found
