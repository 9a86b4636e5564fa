# SPDX-License-Identifier: Apache-2.0
"""The pipeline, in order. Read this first.

Inference: trace -> simplify -> absorb -> fold -> fuse -> plan -> emit. `optimize` is the part from
graph to graph; plan and emit follow in the runtime, since they ask the C++ core for sizes. Training
calls `differentiate` while it traces, so that gradient rules exist for unfused ops only and fusion
sees forward and backward together. Each other pass is a function from a graph to an equal graph,
but for `absorb`, which rounds otherwise.
"""

from __future__ import annotations

from typing import NamedTuple

from lamella.ir.graph import Graph
from lamella.ir.verify import verify
from lamella.passes.absorb import absorb
from lamella.passes.fold import Known, fold
from lamella.passes.fuse import CHAIN_REGISTERS, fuse
from lamella.passes.simplify import simplify

__all__ = ["Simplified", "finish", "optimize", "prepare"]


class Simplified(NamedTuple):
    """A graph before folding, and for each of its nodes whether it is folded."""

    graph: Graph
    foldable: tuple[bool, ...]

    @property
    def kept(self) -> Simplified:
        """What `like` has to know of it."""
        return self if any(self.foldable) else Simplified(Graph((), (), ()), ())

    def like(self, other: Simplified) -> Simplified:
        """The same where only that is folded which the other one folds, too.

        That of a trace with free extents, whose sizes are not known ahead, folds less.
        """
        theirs = other.foldable or (False,) * len(self.foldable)
        if len(theirs) != len(self.foldable):
            return self  # no graph of the same form
        both = tuple(a and b for a, b in zip(self.foldable, theirs, strict=True))
        return self if both == self.foldable else Simplified(self.graph, both)


def prepare(graph: Graph, check: bool = False) -> Simplified:
    """The first passes. check: verify the invariants after every pass."""
    simplified = simplify(graph)
    absorbed = absorb(simplified)
    if check:
        for stage in (graph, simplified, absorbed):
            verify(stage)
    return Simplified(absorbed, Known(absorbed).foldable)


def finish(simplified: Simplified, registers: int = CHAIN_REGISTERS, check: bool = False) -> Graph:
    """The graph that a program is made of."""
    folded = fold(simplified.graph, simplified.foldable, registers)
    fused = fuse(folded, registers)
    if check:
        for stage in (folded, fused):
            verify(stage)
    return fused


def optimize(graph: Graph, registers: int = CHAIN_REGISTERS, check: bool = False) -> Graph:
    """All of them."""
    return finish(prepare(graph, check), registers, check)
