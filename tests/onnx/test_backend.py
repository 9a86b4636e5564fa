# SPDX-License-Identifier: Apache-2.0
"""Backend, as onnx.backend.base has it, beyond what the suite calls; the range of opsets."""

from __future__ import annotations

import numpy as np
import pytest

import lamella as lm
from lamella.errors import UnsupportedError

pytest.importorskip("onnx")
import onnx
from onnx import TensorProto, helper
from onnx.backend.base import Backend, BackendRep

X = np.array([[-1.0, 2.0]], np.float32)


def model(opset: int) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("Add", ["a", "b"], ["s"]), helper.make_node("Relu", ["s"], ["y"])],
        "test",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in "ab"],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def test_the_interface_is_onnx_s() -> None:
    assert issubclass(lm.onnx.Backend, Backend)
    assert isinstance(lm.onnx.Backend.prepare(model(20)), BackendRep)
    assert lm.onnx.Backend.is_compatible(model(20))


def test_inputs_in_a_list_and_by_name() -> None:
    prepared = lm.onnx.Backend.prepare(model(20))
    for inputs in ([X, 2 * X], (X, 2 * X), {"b": 2 * X, "a": X}):
        (y,) = prepared.run(inputs)
        np.testing.assert_array_equal(y, [[0, 6]])
    (y,) = lm.onnx.Backend.run_model(model(20), [X, X])
    np.testing.assert_array_equal(y, [[0, 4]])


def test_one_node() -> None:
    node = helper.make_node("Softmax", ["x"], ["y"], axis=0)
    (y,) = lm.onnx.Backend.run_node(node, [np.zeros((2, 2), np.float32)])
    np.testing.assert_array_equal(y, np.full((2, 2), 0.5))
    # Before opset 13 all axes from `axis` on were one.
    (y,) = lm.onnx.Backend.run_node(node, [np.zeros((2, 2), np.float32)], opset_version=11)
    np.testing.assert_array_equal(y, np.full((2, 2), 0.25))
    split = helper.make_node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2)
    a, b = lm.onnx.Backend.run_node(split, [X])
    np.testing.assert_array_equal(np.concatenate([a, b], 1), X)


def test_devices() -> None:
    supports = lm.onnx.Backend.supports_device
    assert supports("CPU")
    assert supports("CPU:0")
    assert not supports("CUDA")
    assert not supports("CUDA:1")


@pytest.mark.parametrize("opset", range(6, 29))
def test_every_opset_from_6_to_28(opset: int) -> None:
    (y,) = lm.onnx.Backend.run_model(model(opset), [X, X])
    np.testing.assert_array_equal(y, [[0, 4]])


@pytest.mark.parametrize("opset", [1, 5, 29, 1000])
def test_other_opsets_are_refused(opset: int) -> None:
    with pytest.raises(UnsupportedError, match=rf"opset {opset} \(known: 6 to 28\)"):
        lm.onnx.load(model(opset).SerializeToString())
