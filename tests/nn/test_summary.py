# SPDX-License-Identifier: Apache-2.0
"""summary: every number against one worked out by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

import lamella as lm
from lamella import nn
from lamella.errors import ShapeError


def rows(report):
    return {row.path: row for row in report.rows}


def test_a_multi_layer_perceptron():
    net = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    report = net.summary((32, 784))
    table = rows(report)
    assert [row.path for row in report.rows] == ["", "0", "1", "2"]
    assert table["0"].parameters == 784 * 128 + 128 == 100480
    assert table["0"].macs == 32 * 784 * 128
    assert table["0"].output == [(32, 128)]
    assert table["0"].bytes == 4 * 100480
    assert table["1"].parameters == table["1"].macs == 0
    assert table["2"].parameters == 1290
    assert table[""].output == [(32, 10)]
    assert table[""].parameters == 0
    assert report.total_params == report.trainable_params == 101770
    assert report.total_macs == 32 * (784 * 128 + 128 * 10)
    assert report.param_bytes == 4 * 101770
    assert report.input_bytes == 4 * 32 * 784
    assert report.output_bytes == 4 * 32 * 10
    assert report.activation_bytes == 4 * 32 * (128 + 128 + 10)
    assert report.buffer_bytes == 0


def test_products_outside_layers_count_for_their_module():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv = nn.Linear(8, 24, bias=False)

        def forward(self, x):
            q, k, v = self.qkv(x).split(8, -1)
            return (q @ k.mT).softmax(-1) @ v

    table = rows(Attention().summary((2, 5, 8)))
    assert table["qkv"].macs == 2 * 5 * 8 * 24
    # (5, 8) @ (8, 5) and (5, 5) @ (5, 8), twice.
    assert table[""].macs == 2 * (5 * 8 * 5 + 5 * 5 * 8)


def test_bilinear_products():
    report = nn.Bilinear(6, 5, 4).summary((3, 6), (3, 5))
    assert report.total_params == 4 * 6 * 5 + 4
    assert report.total_macs == 3 * 6 * (4 * 5)


def test_shared_layers_count_once_and_run_twice():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(4, 4)
            self.b = self.a
            self.c = nn.Linear(4, 4)
            self.c.weight = self.a.weight

        def forward(self, x):
            return self.c(self.b(self.a(x)))

    report = Shared().summary((1, 4))
    table = rows(report)
    assert table["a"].calls == 2
    assert table["a"].macs == 2 * 16
    assert table["c"].parameters == 4
    assert report.total_params == 16 + 4 + 4
    assert "x2" in str(report)


def test_buffers_and_frozen_parameters():
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    net[0].requires_grad_(False)
    report = net.summary((4, 3))
    assert report.total_params == 8 + 4
    assert report.trainable_params == 4
    # Two vectors of float32 and one int64 count.
    assert report.buffer_bytes == 2 * 8 + 8
    assert "12: 4 trainable, 8 not" in str(report)


def test_dtypes_and_arrays():
    assert nn.Linear(3, 2).double().summary((1, 3)).param_bytes == 8 * 8
    report = nn.Embedding(10, 3).summary(np.zeros((2, 4), np.int32))
    assert rows(report)[""].output == [(2, 4, 3)]
    assert report.input_bytes == 8 * 4
    assert report.total_macs == 0


def test_several_outputs_and_uncalled_children():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = nn.ModuleList([nn.Linear(3, 2), nn.Linear(3, 1)])
            self.unused = nn.Linear(9, 9)

        def forward(self, x):
            return {"a": self.parts[0](x), "b": self.parts[1](x)}

    report = Two().summary((1, 3))
    table = rows(report)
    assert table[""].output == [(1, 2), (1, 1)]
    assert table["unused"].output == []
    assert table["unused"].parameters == 90
    assert table["parts"].output == []
    assert table["parts.1"].output == [(1, 1)]
    assert "unused: Linear" in str(report)


def test_as_dict_is_plain():
    report = lm.summary(nn.Linear(3, 4), (2, 3))
    plain = json.loads(json.dumps(report.as_dict()))
    assert plain["total_params"] == 16
    assert plain["total_macs"] == 24
    assert plain["rows"][0]["output"] == [[2, 4]]


@pytest.mark.parametrize("bad", ["(1, 3)", (1.0, 3), None, 3, (1, -3)])
def test_bad_shapes(bad):
    with pytest.raises(ShapeError):
        nn.Linear(3, 4).summary(bad)
    with pytest.raises(ShapeError, match="inner sizes"):
        nn.Linear(3, 4).summary((1, 5))


def test_a_summary_leaves_no_trace():
    net = nn.Sequential(nn.BatchNorm1d(3))
    before = {name: value.tobytes() for name, value in net.state_dict().items()}
    net.summary((4, 3))
    assert {name: value.tobytes() for name, value in net.state_dict().items()} == before
