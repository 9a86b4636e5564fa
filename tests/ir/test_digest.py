# SPDX-License-Identifier: Apache-2.0
"""The digests of two graphs are equal, or differ in what any of their parts says."""

from __future__ import annotations

import numpy as np
import pytest

from lamella import functional as F
from lamella import nn
from lamella.ir.digest import digest
from lamella.ir.types import DType, TensorType
from lamella.runtime.session import trace

X = np.ones((2, 3), np.float32)
WEIGHT, OTHER = nn.Parameter(np.ones((3, 3))), nn.Parameter(np.ones((3, 3)))


class Counting(nn.Module):
    def __init__(self, step):
        super().__init__()
        self.step, self.total = step, nn.Buffer(np.zeros(3, np.float32))

    def forward(self, x):
        self.total = self.total + x[0] * self.step
        return x


COUNTING = Counting(1.0)
BODIES = [
    lambda x: x @ WEIGHT,
    lambda x: x @ OTHER,
    lambda x: (x @ WEIGHT, x),
    lambda x: x * 0.0,
    lambda x: x * -0.0,
    lambda x: x * np.float32([1, 2, 3]),
    lambda x: x * np.float32([1, 2, 4]),
    lambda x: x.clamp(0.0, 1.0),
    lambda x: x.clamp(-0.0, 1.0),
    lambda x: F.relu(x) + F.tanh(x),
    lambda x: F.relu(x) + F.tanh(F.relu(x)),
    lambda x: F.tanh(x) - F.relu(x),
    lambda x: F.dropout(x, 0.5),
    COUNTING,
    Counting(1.0),
]


def graph_of(body, x=X):
    return trace(body, (x,))[0]


@pytest.mark.parametrize("number", range(len(BODIES)))
def test_only_the_same_is_the_same(number):
    found = digest(graph_of(BODIES[number]))
    same = [found == digest(graph_of(other)) for other in BODIES]
    assert same == [other == number for other in range(len(BODIES))]


def test_inputs_count():
    relu = nn.ReLU()
    assert digest(graph_of(relu)) == digest(graph_of(relu))
    assert digest(graph_of(relu)) != digest(graph_of(relu, X[:1]))
    assert digest(graph_of(relu)) != digest(graph_of(relu, X.astype(np.float64)))


def test_a_trace_with_free_extents_at_other_sizes() -> None:
    def body(x):
        return x.relu() * x.shape[0] + x.mean(0)

    def traced(n: int, free=()):
        return trace(body, [TensorType((n, 3), DType.float32)], free=free)[0]

    free = traced(5, [[(0, 0)]])
    for n in (5, 9):
        assert digest(free, symbols=[n]) == digest(traced(n))
    assert digest(free) != digest(traced(5))
    assert digest(free, symbols=[9]) != digest(traced(5))
