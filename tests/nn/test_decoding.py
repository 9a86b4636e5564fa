# SPDX-License-Identifier: Apache-2.0
"""A state of fixed capacity, of which each call writes a row: where it lies, or not at all."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import lamella as lm
from comparators import same_values, within_scale
from lamella import nn
from lamella.benchmarks.encoder import Decoder

WIDTH, HEADS, CAPACITY = 24, 3, 20


def draw(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def attention(net: Decoder, tokens: np.ndarray) -> np.ndarray:
    """What the layer answers to the last token, in float64."""
    state = {name: value.astype(np.float64) for name, value in net.state_dict().items()}
    parts = tokens @ state["qkv.weight"].T + state["qkv.bias"]
    q, k, v = np.moveaxis(parts.reshape(len(tokens), 3, HEADS, -1), (1, 2), (0, 1))
    scores = np.einsum("hd,hcd->hc", q[:, -1], k) * net.scale
    weights = np.exp(scores - scores.max(1, keepdims=True))
    weights /= weights.sum(1, keepdims=True)
    y = np.einsum("hc,hcd->hd", weights, v).reshape(-1)
    return y @ state["out.weight"].T + state["out.bias"]


@pytest.fixture
def net() -> Decoder:
    return Decoder(WIDTH, HEADS, CAPACITY).eval()


def test_every_token_sees_those_before(net, threads):
    tokens = draw(CAPACITY, WIDTH)
    for turn in range(2):  # the second sequence writes over the first
        for length, token in enumerate(tokens):
            want = attention(net, tokens[: length + 1].astype(np.float64))
            # Two products of width terms around a softmax of sums of as many.
            within_scale(net(token, np.array(length)), want, np.ones_like(want) * 8, "f4", 40)
        tokens = tokens[::-1] * np.float32(turn + 2)


def test_only_the_new_row_is_written(net):
    tokens = draw(CAPACITY, WIDTH)
    net(tokens[0], np.array(7))
    ops = [row.op for row in lm.profile(net, tokens[0], np.array(7)).rows]
    assert ops.count("scatter_replace(1)") == 2
    assert ops.count("index(20)") == 1
    assert "copy" not in ops  # what could not be computed in place, at the end
    before = {name: net.state_dict()[name].copy() for name in ("keys", "values")}
    net(tokens[3], np.array(3))
    for name, old in before.items():
        new = net.state_dict()[name]
        assert new[:, 3].any()
        same_values(np.delete(new, 3, 1), np.delete(old, 3, 1))


@pytest.mark.parametrize("bad", [-1, CAPACITY, 2**62])
def test_a_length_beyond_the_capacity_changes_nothing(net, bad, threads):
    for length, token in enumerate(draw(4, WIDTH)):
        net(token, np.array(length))
    before = {name: value.copy() for name, value in net.state_dict().items()}
    want = np.array(net(draw(WIDTH), np.array(3)))
    kept = {name: value.copy() for name, value in net.state_dict().items()}
    with pytest.raises(IndexError, match=f"got {bad}; expected an index from 0 to {CAPACITY - 1}"):
        net(draw(WIDTH, seed=2), np.array(bad))
    for name, value in net.state_dict().items():
        same_values(value, kept[name])
    net.load_state_dict(before)
    same_values(net(draw(WIDTH), np.array(3)), want)


def test_two_rows_at_once_and_none():
    class Kept(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rows = nn.Buffer(np.zeros((2, 6, 3), np.float32))

        def forward(self, index, rows):
            self.rows = lm.functional.index_copy(self.rows, 1, index, rows)
            return self.rows.sum(1)

    net, want = Kept(), np.zeros((2, 6, 3), np.float32)
    for count in (2, 0, 3, 1, 5, 2):
        index, rows = np.random.default_rng(count).permutation(6)[:count], draw(2, count, 3)
        want[:, index] = rows
        within_scale(net(index, rows), want.sum(1, dtype=np.float64), abs(want).sum(1), "f4", 6)
        same_values(net.rows.array, want)


def test_a_value_that_is_an_output_too():
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rows = nn.Buffer(np.zeros((6, 3), np.float32))

        def forward(self, index, rows):
            old = self.rows * 1.0
            self.rows = self.rows.index_copy(0, index, rows)
            return old, self.rows

    net, want = Both(), np.zeros((6, 3), np.float32)
    for turn in range(4):
        index, rows = np.array([turn, turn + 2]), draw(2, 3, seed=turn)
        old, new = net(index, rows)
        same_values(old, want)
        want[index] = rows
        same_values(new, want)
        same_values(net.rows.array, want)


def test_threads_decode_with_nets_of_their_own():
    """And one with a net of others: its rows are those of one call each."""
    shared, tokens, failed = Decoder(WIDTH, HEADS, CAPACITY).eval(), draw(CAPACITY, WIDTH), []
    want = [np.array(shared(token, np.array(i))) for i, token in enumerate(tokens)]

    def work() -> None:
        try:
            own = Decoder(WIDTH, HEADS, CAPACITY).eval()
            own.load_state_dict(shared.state_dict())
            for _ in range(5):
                for i, token in enumerate(tokens):
                    assert np.array_equal(own(token, np.array(i)), want[i])
                    shared(token, np.array(i))
        except BaseException as error:
            failed.append(error)

    team = [threading.Thread(target=work) for _ in range(4)]
    for member in team:
        member.start()
    for member in team:
        member.join()
    assert not failed, failed[0]
    for i, token in enumerate(tokens):
        same_values(shared(token, np.array(i)), want[i])


def test_packed_and_held_weights_are_of_one_moment():
    """A product before the first write, a factor behind it; another program changes both."""
    weight, factor = (nn.Buffer(np.ones(shape, np.float32)) for shape in ((40, 40), 40))

    class Late(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.factor = weight, factor
            self.register_buffer("state", np.zeros(40, np.float32))

        def forward(self, x):
            self.state = self.state * 0.0 + x @ self.weight
            return self.state * self.factor

    class Flip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.factor = weight, factor

        def forward(self):
            self.weight = 4.0 - self.weight
            self.factor = 4.0 - self.factor
            return self.factor.sum()

    net, flip, x, stop = Late(), Flip(), np.ones(40, np.float32), threading.Event()

    def change() -> None:
        while not stop.is_set():
            flip()

    net(x)
    thread = threading.Thread(target=change)
    thread.start()
    try:
        found = {float(value) for _ in range(3000) for value in net(x)}
    finally:
        stop.set()
        thread.join()
    assert found <= {40.0, 360.0}
