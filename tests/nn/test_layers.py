# SPDX-License-Identifier: Apache-2.0
"""Layers beyond what parity with torch shows: statistics, random draws, defaults, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest

import lamella as lm
from comparators import same_bits, within_scale
from lamella import functional as F
from lamella import nn
from lamella.errors import DTypeError, ShapeError, UnsupportedError


def draw(*shape: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("momentum", [0.1, 1.0, None])
def test_batch_norm_statistics_by_hand(momentum):
    layer = nn.BatchNorm1d(5, momentum=momentum)
    mean, var = np.zeros(5), np.ones(5)
    for step in range(1, 4):
        x = draw(16, 5, seed=step) * step + step
        layer(x)
        rate = 1 / step if momentum is None else momentum
        mean = (1 - rate) * mean + rate * x.astype(np.float64).mean(0)
        var = (1 - rate) * var + rate * x.astype(np.float64).var(0, ddof=1)
        state = layer.state_dict()
        within_scale(state["running_mean"], mean, np.abs(mean) + 4, np.float32, 40)
        within_scale(state["running_var"], var, var, np.float32, 60)
        same_bits(state["num_batches_tracked"], np.array(step))
    kept = layer.eval().state_dict()
    layer(draw(16, 5))
    for name, value in layer.state_dict().items():
        same_bits(value, kept[name])
    layer.reset_running_stats()
    assert not layer.running_mean.data.any()
    assert (layer.running_var.data == 1).all()
    assert layer.num_batches_tracked.data == 0


def test_batch_norm_inside_a_net_keeps_its_statistics():
    net = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU())
    x = draw(8, 4)
    hidden = net[0](x).astype(np.float64)
    for step in (1, 2, 3):
        net(x)
        want = hidden.mean(0) * (1 - 0.9**step)
        within_scale(np.array(net[1].running_mean), want, np.abs(hidden).mean(0), np.float32, 60)
    assert net[1].num_batches_tracked.data == 3


def test_batch_norm_refusals():
    layer = nn.BatchNorm1d(5)
    for shape in ((5,), (2, 5, 2, 2), (2, 4)):
        with pytest.raises(ShapeError, match=r"(?i)batch_?norm"):
            layer(np.zeros(shape, np.float32))
    with pytest.raises(ShapeError, match="more than one value"):
        layer(np.zeros((1, 5), np.float32))
    assert layer(np.zeros((1, 5, 2), np.float32)).shape == (1, 5, 2)
    assert layer.eval()(np.zeros((1, 5), np.float32)).shape == (1, 5)


def test_layer_norm_arguments():
    assert nn.LayerNorm([2, 3]).normalized_shape == (2, 3)
    assert nn.LayerNorm(3, bias=False).bias is None
    assert list(nn.LayerNorm(3, elementwise_affine=False).state_dict()) == []
    with pytest.raises(ShapeError, match=r"layer_norm: .* \(at 0\)"):
        nn.Sequential(nn.LayerNorm(3))(draw(2, 4))


def test_rms_norm_arguments():
    assert nn.RMSNorm([2, 3]).normalized_shape == (2, 3)
    assert list(nn.RMSNorm(3).state_dict()) == ["weight"]
    assert list(nn.RMSNorm(3, elementwise_affine=False).state_dict()) == []
    assert repr(nn.RMSNorm(3)) == "RMSNorm((3,), eps=None, elementwise_affine=True)"
    x = draw(2, 3)
    same_bits(nn.RMSNorm(3)(x), F.rms_norm(x, 3, np.ones(3, np.float32), float(np.finfo("f").eps)))
    with pytest.raises(ShapeError, match=r"rms_norm: .* \(at 0\)"):
        nn.Sequential(nn.RMSNorm(3))(draw(2, 4))


def test_dropout_draws():
    """Zeros at the stated rate, other draws at every call, the same again from the same seed."""
    x = np.ones((200, 100), np.float32)
    layer = nn.Dropout(0.25)
    lm.manual_seed(1)
    first, second = layer(x).copy(), layer(x).copy()
    assert set(np.unique(first)) == {np.float32(0), np.float32(1 / 0.75)}
    # Four standard deviations of a binomial count.
    slack = 4 * math.sqrt(0.25 * 0.75 * x.size)
    assert abs((first == 0).sum() - 0.25 * x.size) < slack
    together = ((first == 0) & (second == 0)).sum()
    assert abs(together - 0.0625 * x.size) < slack
    lm.manual_seed(1)
    same_bits(layer(x).copy(), first)
    lm.manual_seed(2)
    assert not np.array_equal(layer(x), first)


def test_dropout_layers_of_one_net_draw_differently():
    net = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5))
    kept = (net(np.ones(4000, np.float32)) != 0).mean()
    assert abs(kept - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 4000)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_dropout_at_the_ends(p):
    x = draw(50)
    want = x if p == 0 else np.zeros_like(x)
    assert np.array_equal(nn.Dropout(p)(x), want)
    same_bits(nn.Dropout(p).eval()(x), x)


@pytest.mark.parametrize("p", [-0.1, 1.5, math.nan])
def test_dropout_refuses_what_is_no_probability(p):
    with pytest.raises(ValueError, match="0 <= p <= 1"):
        nn.Dropout(p)
    with pytest.raises(ValueError, match="0 <= p <= 1"):
        F.dropout(draw(3), p)


def test_embedding_arguments():
    table = nn.Embedding.from_pretrained(draw(4, 3))
    assert not table.weight.requires_grad
    same_bits(table(np.array([3])), draw(4, 3)[[3]])
    assert nn.Embedding(4, 3, padding_idx=-4).padding_idx == 0
    for bad in (4, -5):
        with pytest.raises(ShapeError, match="no such row"):
            nn.Embedding(4, 3, padding_idx=bad)
        with pytest.raises(ShapeError, match="no such row"):
            F.embedding(np.array([0]), draw(4, 3), bad)
    with pytest.raises(ShapeError, match="not a table"):
        nn.Embedding.from_pretrained(draw(4))
    with pytest.raises(UnsupportedError, match="max_norm"):
        nn.Embedding(4, 3, max_norm=1.0)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint64])
def test_embedding_takes_integers_of_every_width(dtype):
    table = nn.Embedding(4, 3)
    indices = np.array([[3, 0]], dtype)
    same_bits(table(indices), np.asarray(table.weight)[indices.astype(int)])
    with pytest.raises(DTypeError):
        table(np.array([0.0]))


def test_maxout_is_the_largest_of_its_pieces():
    x = draw(3, 12)
    same_bits(nn.Maxout(4)(x), x.reshape(3, 3, 4).max(-1))
    same_bits(nn.Maxout(3, dim=0)(x), x.reshape(1, 3, 12).max(1))
    net = nn.Sequential(nn.Linear(12, 6), nn.Maxout(2))
    same_bits(net(x).copy(), net[0](x).reshape(3, 3, 2).max(-1))
    for pieces in (0, -1, 5):
        with pytest.raises(ShapeError, match="pieces"):
            nn.Maxout(pieces)(x)


@pytest.mark.parametrize("sizes", [(-1, 2), (2, -1), (2**62, 2**62), (2**70, 1)])
def test_sizes_are_judged_before_memory_is_taken(sizes):
    for layer in (nn.Linear, nn.Embedding):
        with pytest.raises(ShapeError):
            layer(*sizes)


@pytest.mark.parametrize("sizes", [(1.5, 2), ("3", 2), (None, 2), (True, 2), ((1,), 2)])
def test_sizes_are_integers(sizes):
    with pytest.raises(DTypeError, match="sizes are integers"):
        nn.Linear(*sizes)


def test_empty_layers():
    assert nn.Linear(0, 3, bias=False)(np.zeros((2, 0), np.float32)).tolist() == [[0] * 3] * 2
    assert nn.Linear(3, 0)(np.zeros((2, 3), np.float32)).shape == (2, 0)
    assert nn.Linear(3, 2)(np.zeros((0, 3), np.float32)).shape == (0, 2)


def test_inplace_changes_nothing():
    x = draw(5)
    kept = x.copy()
    same_bits(nn.ReLU(inplace=True)(x), np.maximum(kept, 0))
    same_bits(x, kept)
    same_bits(F.relu(x, inplace=True), np.maximum(kept, 0))
    same_bits(x, kept)
