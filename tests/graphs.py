# SPDX-License-Identifier: Apache-2.0
"""Graphs for tests: traced from a function, run as they are, and looked at by op names; and modules
that are a function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lamella import nn
from lamella.ir.graph import Graph
from lamella.ir.types import DType, TensorType
from lamella.runtime.emit import emit
from lamella.runtime.session import trace
from lamella.runtime.tensor import Operand

F32 = DType.float32
F64 = DType.float64


class Functional(nn.Module):
    """A function as a module."""

    def __init__(self, body: Callable[..., Any]) -> None:
        super().__init__()
        self.body = body

    def forward(self, *inputs: Any) -> Any:
        return self.body(*inputs)


class Weight(Operand):
    """Storage, as nn.Parameter has it, and nothing else."""

    def __init__(self, array: np.ndarray, name: str = "weight") -> None:
        self.array = array
        self.version = np.zeros(1, np.int64)
        self.name = name

    @property
    def memory(self) -> np.ndarray:
        return self.array


def kind(*shape: int, dtype: DType = F32) -> TensorType:
    return TensorType(shape, dtype)


def traced(body: Callable[..., object], *inputs: TensorType | np.ndarray) -> Graph:
    return trace(body, inputs)[0]


def ops(graph: Graph) -> list[str]:
    """What each node does, in order."""
    return [str(node.op) for node in graph.nodes]


def arrays_for(graph: Graph, rng: np.random.Generator) -> list[np.ndarray]:
    """Inputs of the graph's types: normal numbers, truth values, small integers."""
    made = []
    for value in graph.inputs:
        if value.dtype.is_floating:
            array = rng.normal(size=value.shape)
        else:
            array = rng.integers(0, 2, size=value.shape)
        made.append(np.asarray(array, value.dtype.numpy))
    return made


def run(graph: Graph, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """The outputs of the graph's program, without any pass but the memory plan."""
    return emit(graph).run(arrays)


def assert_same_bits(before: Graph, after: Graph, rng: np.random.Generator) -> None:
    """Both graphs give the same outputs on random inputs, bit by bit."""
    arrays = arrays_for(before, rng)
    for expected, got in zip(run(before, arrays), run(after, arrays), strict=True):
        assert expected.dtype == got.dtype
        assert expected.tobytes() == got.tobytes()
