# SPDX-License-Identifier: Apache-2.0
"""The pipeline, in order. Read this first.

Inference: trace -> simplify -> fuse -> plan -> emit. `optimize` is the part from graph to graph;
plan and emit follow in the runtime, since they ask the C++ core for sizes. Training calls
`differentiate` while it traces, so that gradient rules exist for unfused ops only and fusion sees
forward and backward together. Each other pass is a function from a graph to an equal graph.
"""

from __future__ import annotations

from lamella.ir.graph import Graph
from lamella.ir.verify import verify
from lamella.passes.fuse import CHAIN_REGISTERS, fuse
from lamella.passes.simplify import simplify

__all__ = ["optimize"]


def optimize(graph: Graph, registers: int = CHAIN_REGISTERS, check: bool = False) -> Graph:
    """The graph a program is made of. check: verify the invariants after every pass."""
    simplified = simplify(graph)
    fused = fuse(simplified, registers)
    if check:
        for stage in (graph, simplified, fused):
            verify(stage)
    return fused
