# SPDX-License-Identifier: Apache-2.0
"""The profile of a training step: which part of it each row belongs to.

Forward is what the loss, other results and running statistics need; the update is what the step
placed under the name UPDATE: clipping, held gradients and the optimiser; all else is backward.
Passes have moved work between them by then: what forward shares with backward counts as forward.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from lamella.ir.graph import Graph, Node, Result, Value
from lamella.ir.types import Array
from lamella.runtime.profile import Profile, measure
from lamella.runtime.session import Compiled

__all__ = ["UPDATE", "StepProfile", "profile"]

UPDATE = "update"
_PARTS = ("forward", "backward", UPDATE)


@dataclass(frozen=True)
class StepProfile(Profile):
    """A Profile of a TrainStep. parts: of each row "forward", "backward" or "update".

    >>> import numpy as np, lamella as lm
    >>> from lamella import nn, optim
    >>> net = nn.Linear(64, 8)
    >>> step = lm.TrainStep(net, nn.MSELoss(), optim.Adam(net.parameters()))
    >>> x, y = np.zeros((16, 64), np.float32), np.zeros((16, 8), np.float32)
    >>> found = lm.profile(step, x, y, seconds=0.01)
    >>> 0 < found.part("forward") < found.seconds < found.call
    True
    """

    parts: tuple[str, ...]

    def part(self, name: str) -> float:
        """The seconds of all rows of a part: "forward", "backward" or "update"."""
        return sum(
            row.seconds for row, part in zip(self.rows, self.parts, strict=True) if part == name
        )

    def __str__(self) -> str:
        whole = max(self.seconds, 1e-12)
        lines = super().__str__().splitlines()
        rows = [f"{part:8} {line}" for part, line in zip(self.parts, lines, strict=False)]
        sums = [
            f"{part:8} {self.part(part) * 1e6:10.3f} us {100 * self.part(part) / whole:5.1f} %"
            for part in _PARTS
        ]
        return "\n".join([*rows, *sums, *(f"{'':8} {line}" for line in lines[len(rows) :])])

    __repr__ = __str__


def profile(
    compiled: Compiled, inputs: Sequence[Array], call: Callable[[], Any], seconds: float
) -> StepProfile:
    """The profile of a step's program, run on these inputs, and of a whole call of it."""
    found = measure(compiled, inputs, call, seconds)
    nodes: list[Node | None] = []
    for node, steps in groupby(compiled.origins):
        # As the rows of a profile: a copy behind the nodes is one by itself.
        nodes += [None for _ in steps] if node is None else [node]
    forward = _forward(compiled.graph)
    parts = tuple(
        UPDATE if node is None or _updates(node) else "forward" if node in forward else "backward"
        for node in nodes
    )
    return StepProfile(**vars(found), parts=parts)


def _forward(graph: Graph) -> set[Node]:
    """The nodes that the results need, and the running statistics of the net's layers."""
    pending: list[Value] = [*graph.outputs]
    updates = [value for _, value in graph.updates if isinstance(value, Result)]
    pending += [value for value in updates if not _updates(value.node)]
    seen: set[Node] = set()
    while pending:
        value = pending.pop()
        if isinstance(value, Result) and value.node not in seen:
            seen.add(value.node)
            pending += value.node.inputs
    return seen


def _updates(node: Node) -> bool:
    # Fused into one, the last place is that of what the step gives.
    return node.path.rpartition(" + ")[2].split(".")[0] == UPDATE
