# SPDX-License-Identifier: Apache-2.0
"""What training keeps between forward and backward, found by differentiating without running.

The gradient of the sum of a module's outputs is placed behind its forward; what the nodes of the
backward pass read from the forward pass has to be kept until then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lamella.ir.graph import Node, Result, Value
from lamella.passes.differentiate import differentiate
from lamella.runtime.session import trace
from lamella.runtime.signature import flatten
from lamella.runtime.tensor import Operand
from lamella.runtime.trace import current

if TYPE_CHECKING:
    from lamella.nn.module import Module

__all__ = ["saved_bytes"]


def saved_bytes(module: Module, args: Sequence[Any]) -> tuple[int, int]:
    """Bytes of the activations that backward reads, together and of the largest.

    Of (0, 0) where no parameter has a gradient. args: arrays or TensorTypes, as for `trace`.
    """
    sizes: list[int] = []

    def body(*inputs: Any) -> Any:
        context = current()
        results = [
            one for one in flatten(module(*inputs))[0]
            if isinstance(one, Operand) and one._type.dtype.is_floating
        ]  # fmt: skip
        wrt = [context.parameter(one) for one in module.parameters() if one.requires_grad]
        if not results or not wrt:
            return results
        sums = [one.sum() for one in results]
        total = sums[0]
        for one in sums[1:]:
            total = total + one.to(total.dtype)
        value = total._value(context)
        gradients = [one for one in differentiate(context.place, value, wrt) if one is not None]
        forward = _behind([value])
        read = {
            leaf: leaf.type.nbytes
            for node in _behind(gradients) - forward
            for leaf in map(_leaf, node.inputs)
            if isinstance(leaf, Result) and leaf.node in forward
        }
        sizes.extend(read.values())
        return results

    trace(body, args)
    return sum(sizes), max(sizes, default=0)


def _behind(values: Sequence[Value]) -> set[Node]:
    """The nodes that values are computed by."""
    found: set[Node] = set()
    pending = [value.node for value in values if isinstance(value, Result)]
    while pending:
        node = pending.pop()
        if node not in found:
            found.add(node)
            pending += [value.node for value in node.inputs if isinstance(value, Result)]
    return found


def _leaf(value: Value) -> Value:
    while isinstance(value, Result) and value.node.op.view:
        value = value.node.inputs[0]
    return value
