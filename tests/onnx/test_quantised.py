# SPDX-License-Identifier: Apache-2.0
"""Models after ONNX Runtime's dynamic quantiser: one program, its integers to the bit.

The oracle is ONNX Runtime. Where both start from the same floats (the first layer's input) integers
have to be equal; behind a layer norm or an exponential a value may round to another integer, one of
the 255 that span its array.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import numpy as np
import pytest

import lamella as lm
from comparators import same_bits
from graphs import Functional
from lamella import functional as F
from lamella import nn
from lamella.ops.integer import IntegerMatMul
from lamella.ops.quantize import DynamicQuantize
from lamella.passes import optimize
from lamella.runtime.session import trace

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
import onnx
import onnxruntime as runtime
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process

OPTIONS = {
    "int8": {},
    "a scale a column": {"per_channel": True},
    "uint8": {"weight_type": quantization.QuantType.QUInt8},
    "seven bits": {"reduce_range": True, "per_channel": True},
}


def quantised(data: bytes, **options: object) -> bytes:
    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        given, ready, made = (Path(folder, f"{name}.onnx") for name in ("given", "ready", "made"))
        given.write_bytes(data)
        quant_pre_process(str(given), str(ready), skip_symbolic_shape=True)
        quantization.quantize_dynamic(str(ready), str(made), **options)
        return made.read_bytes()


def by_runtime(data: bytes, *arrays: np.ndarray) -> list[np.ndarray]:
    session = runtime.InferenceSession(data, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    return session.run(None, dict(zip(names, arrays, strict=True)))


def kinds(model: nn.Module, *arrays: np.ndarray) -> list[object]:
    graph, _ = trace(model, list(arrays))
    return [node.op for node in optimize(graph, check=True).nodes]


class Block(nn.Module):
    """A block of an encoder: attention in heads, then an MLP, both behind a layer norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        parts = self.qkv(self.first(x)).chunk(3, dim=-1)
        q, k, v = (one.unflatten(-1, (self.heads, -1)).transpose(-3, -2) for one in parts)
        weights = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1)
        x = x + self.out((weights @ v).transpose(-3, -2).flatten(-2))
        return x + self.down(F.gelu(self.up(self.second(x))))


@pytest.mark.parametrize("name", OPTIONS)
def test_an_encoder_is_one_program_and_right(name, rng):
    lm.manual_seed(0)
    net = nn.Sequential(Block(48, 4), Block(48, 4)).eval()
    x = rng.normal(size=(2, 19, 48)).astype(np.float32)
    data = quantised(lm.onnx.encode(net, x), **OPTIONS[name])
    model = lm.onnx.load(data)
    found = kinds(model, x)
    products = [op for op in found if isinstance(op, IntegerMatMul)]
    assert len(products) == 8
    assert all(op.scale and op.bias for op in products), products
    # One quantisation serves a layer; q, k and v are one here.
    assert sum(isinstance(op, DynamicQuantize) for op in found) == 8
    got, (want,) = model(x), by_runtime(data, x)
    assert got.dtype == want.dtype
    float_net = net(x)
    # Both are as far from the network that they stand for, and far nearer to each other.
    apart = np.abs(got - want).max() / np.abs(want).max()
    lost = np.abs(float_net - want).max() / np.abs(want).max()
    assert apart < 0.5 * lost, (apart, lost)
    assert np.median(np.abs(got - want)) < 1e-3 * np.abs(want).max()


def with_outputs(data: bytes, *ops: str) -> bytes:
    """The model with all results of such nodes among its outputs."""
    model = onnx.load_from_string(data)
    types = {"MatMulInteger": [6], "DynamicQuantizeLinear": [2, 1, 2]}
    for node in model.graph.node:
        if node.op_type in ops:
            for name, kind in zip(node.output, types[node.op_type], strict=True):
                info = onnx.helper.make_tensor_value_info(name, kind, None)
                model.graph.output.append(info)
    return model.SerializeToString()


@pytest.mark.parametrize("name", OPTIONS)
def test_the_integers_of_a_layer_are_the_same(name, rng):
    lm.manual_seed(1)
    net = nn.Linear(70, 37).eval()
    x = rng.normal(size=(9, 70)).astype(np.float32)
    data = quantised(lm.onnx.encode(net, x), **OPTIONS[name])
    data = with_outputs(data, "MatMulInteger", "DynamicQuantizeLinear")
    got, want = lm.onnx.load(data)(x), by_runtime(data, x)
    assert len(got) == len(want) == 5
    for one, other in zip(got[1:], want[1:], strict=True):
        same_bits(np.asarray(one), other)
    np.testing.assert_allclose(got[0], want[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("rows", [1, 3, 64])
def test_any_number_of_rows_has_the_same_bits(rows, rng):
    """A row's integers depend on the range of all rows: equal ranges give equal rows."""
    lm.manual_seed(2)
    net = nn.Sequential(nn.Linear(33, 64), nn.ReLU(), nn.Linear(64, 5)).eval()
    x = np.repeat(rng.normal(size=(1, 33)).astype(np.float32), rows, 0)
    data = quantised(lm.onnx.encode(net, x))
    model = lm.onnx.load(data)
    one = model(x[:1]).copy()
    for row in model(x):
        same_bits(row, one[0])


FUNCTIONS = {
    "quantize": lambda x: F.quantize_per_tensor(x, 0.02, 7, "int8"),
    "quantize columns": lambda x: F.quantize_per_channel(
        x, np.linspace(0.01, 0.05, 21, dtype=np.float32), axis=1
    ),
    "dynamic": F.quantize_dynamic,
    "there and back": lambda x: F.dequantize(F.quantize_per_tensor(x, 0.02), 0.02),
    "product": lambda x: F.matmul_integer(
        F.quantize_per_tensor(x, 0.02, 100), WEIGHT, np.uint8(100), np.int8(3)
    ),
}
WEIGHT = np.random.default_rng(3).integers(-128, 128, (21, 18), np.int8)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_written_means_the_same(name, rng):
    """In ONNX Runtime, and read back."""
    net = Functional(FUNCTIONS[name])
    x = rng.normal(size=(6, 21)).astype(np.float32)
    data = lm.onnx.encode(net, x)
    want = net(x)
    for found in (lm.onnx.load(data)(x), by_runtime(data, x)):
        several = found if isinstance(found, tuple | list) else (found,)
        expected = want if isinstance(want, tuple) else (want,)
        for one, other in zip(several, expected, strict=True):
            same_bits(np.asarray(one), np.asarray(other))
