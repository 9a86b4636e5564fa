# SPDX-License-Identifier: Apache-2.0
"""A graph as text: one node per line, every value under a name of its own."""

from __future__ import annotations

import numpy as np

from graphs import Weight, kind, traced
from lamella.ir.show import number_values, show, show_node
from lamella.passes import optimize
from lamella.runtime.trace import current, scope


def test_one_line_per_node() -> None:
    w = Weight(np.ones((4, 3), np.float32), "w")

    def body(x):
        with scope("encoder"), scope("fc1"):
            y = x @ w.T + 1
        current().update(w, y[:4, :1].expand(4, 3))
        return y.relu(), x

    text = show(traced(body, kind(5, 3)))
    assert text.splitlines() == [
        "input input0 : float32 (5, 3)",
        "parameter w : float32 (4, 3)",
        "%0 = permute(1, 0) <- w : float32 (3, 4)  # encoder.fc1",
        "%1 = matmul <- input0, %0 : float32 (5, 4)  # encoder.fc1",
        "%2 = add <- %1, 1 : float32 (5, 4)  # encoder.fc1",
        "%3 = slice[0:+4, 0:+1] <- %2 : float32 (4, 1)",
        "%4 = expand(4, 3) <- %3 : float32 (4, 3)",
        "%5 = relu <- %2 : float32 (5, 4)",
        "return %5, input0",
        "update w = %4",
    ]


def test_fused_nodes_say_what_they_hold() -> None:
    b = Weight(np.ones(4, np.float32), "b")
    graph = optimize(
        traced(lambda x, w: ((x @ w.T + b).tanh() * 2 - 1).softmax(), kind(5, 3), kind(4, 3))
    )
    lines = show(graph).splitlines()
    assert lines[3] == "%0 = dense(w.mT, bias, tanh) <- input0, input1, b : float32 (5, 4)"
    assert lines[4] == "%1 = chain(mul sub) <- %0, 2, 1 : float32 (5, 4)"


def test_names_are_different() -> None:
    first, second = (Weight(np.ones(3, np.float32), "w") for _ in range(2))
    nameless = Weight(np.ones(3, np.float32), "")
    graph = traced(lambda x: x + first + second + nameless, kind(3))
    names = list(number_values(graph).values())
    assert len(set(names)) == len(names)
    assert "w" in names
    assert "w_2" in names


def test_a_node_alone_shows_types() -> None:
    graph = traced(lambda x: x + np.ones(3, np.float32), kind(3))
    assert show_node(graph.nodes[0]) == (
        "% = add <- [float32 (3,)], constant[float32 (3,)] : float32 (3,)"
    )
