# SPDX-License-Identifier: Apache-2.0
"""What an ONNX model needs and lamella does not have.

Operators are named with their versions; the nodes of bodies (If, Loop, Scan) and of functions
count.
"""

from __future__ import annotations

from math import prod

from lamella.foreign import refusals as foreign
from lamella.onnx import tensors
from lamella.onnx.model import GraphProto, NodeProto, TensorProto
from lamella.onnx.small import SMALL, room
from lamella.storage.source import quoted

__all__ = ["BY_ARGUMENT", "BY_PATH", "Refusals", "graphs"]

BY_ARGUMENT = "Pass external_data=True, for a model that you trust with its folder"
BY_PATH = "Load the model by its path, with external_data=True"


class Refusals(foreign.Refusals):
    """The faults of one file."""

    def __init__(self) -> None:
        super().__init__("onnx.load")

    def operator(self, node: NodeProto, domain: str, version: int, why: str = "") -> None:
        """A node without a rule, or with a use of its operator that has none."""
        op = node.op_type if node.op_type.isidentifier() else quoted(node.op_type)
        kind = f"{op[:80]}-{version}" + (f" ({quoted(domain)[1:-1]})" if domain else "")
        kind += f" {why}" if why else ""
        self.node(kind, node.name, next(iter(node.outputs), ""))

    def tensor(self, tensor: TensorProto) -> None:
        """A tensor in another file that is not read."""
        stored, count = tensors.stored_dtype(tensor.data_type), prod(tensor.dims)
        small = SMALL.get(tensor.data_type)
        size = room(small, count) if small else count * (stored.itemsize if stored else 0)
        self.external(dict(tensor.external).get("location", ""), size)


def graphs(node: NodeProto) -> list[GraphProto]:
    """The bodies that a node holds in its attributes."""
    found: list[GraphProto] = []
    for attribute in node.attributes:
        values = attribute.value if isinstance(attribute.value, tuple) else (attribute.value,)
        found.extend(value for value in values if isinstance(value, GraphProto))
    return found
