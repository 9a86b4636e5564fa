# SPDX-License-Identifier: Apache-2.0
"""Extents that a file fixes and `free=` opens: what follows, and what names its node."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import lamella as lm
from lamella.errors import ShapeError, UnsupportedError
from lamella.onnx.freed import realigned

pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper

RNG = np.random.default_rng(3)
WEIGHT = RNG.normal(size=(12, 5)).astype(np.float32)
LAST = np.iinfo(np.int64).max


def model(*nodes, batch: int = 1, arrays=(), outputs=("y",)) -> bytes:
    """Nodes on x of shape (batch, 3, 4)."""
    made = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 4])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(made, opset_imports=opsets, ir_version=9).SerializeToString()


def step(op: str, *inputs: str, out: str = "y", **attributes):
    return helper.make_node(op, list(inputs), [out], name=f"the {op}", **attributes)


def dense(batch: int, target) -> bytes:
    """y = reshape(x) @ w, as exporters write a flattening with the batch in its constant."""
    return model(step("Reshape", "x", "s", out="r"), step("MatMul", "r", "w"), batch=batch,
                 arrays=[("s", np.array(target)), ("w", WEIGHT)])  # fmt: skip


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("free", ["batch", {"x": [0]}, {"x": 0}, {"x": {0: "n"}}, {"x": {-3: "n"}}])
def test_rows_are_those_of_the_file(batch: int, free) -> None:
    data = dense(batch, [batch, -1])
    fixed, freed = lm.onnx.load(data), lm.onnx.load(data, free=free)
    first = freed.inputs[0].shape[0]
    assert first == {"batch": "batch"}.get(str(free), "n" if "n" in str(free) else None)
    for size in (batch, 4, 1, 11, batch):
        x = RNG.normal(size=(size, 3, 4)).astype(np.float32)
        rows = [fixed(np.resize(row, (batch, 3, 4)))[0] for row in x]
        np.testing.assert_array_equal(freed(x), rows)
    for other in (copy.deepcopy(freed), pickle.loads(pickle.dumps(freed))):
        np.testing.assert_array_equal(other(x), freed(x))
    with pytest.raises(ShapeError, match="another shape than the model declares"):
        fixed(RNG.normal(size=(3, 3, 4)).astype(np.float32))
    with pytest.raises(ShapeError, match="another shape than the model declares"):
        freed(RNG.normal(size=(3, 4, 4)).astype(np.float32))


X = RNG.normal(size=(5, 3, 4)).astype(np.float32)
FOLLOW = {
    "one constant": (8, [step("Reshape", "x", "a")], [("a", [8, 12])], X.reshape(5, 12)),
    "merged with another axis": (8, [step("Reshape", "x", "a")], [("a", [24, 4])],
                                 X.reshape(15, 4)),
    "to the end and back": (1, [step("Reshape", "x", "a", out="r"),
                                step("Transpose", "r", perm=[1, 0])], [("a", [1, 12])],
                            X.reshape(5, 12).T),
    "split behind it": (1, [step("Reshape", "x", "a")], [("a", [1, 3, 2, 2])],
                        X.reshape(5, 3, 2, 2)),
    "copied and inferred": (8, [step("Reshape", "x", "a")], [("a", [0, -1])], X.reshape(5, 12)),
    "expanded": (8, [step("Expand", "x", "a")], [("a", [8, 3, 4])], X),
    "expanded from one": (1, [step("Expand", "x", "a")], [("a", [2, 1, 3, 4])], np.stack([X, X])),
    "a slice of all": (8, [step("Slice", "x", "a", "b", "c")],
                       [("a", [0, 1]), ("b", [8, 3]), ("c", [0, 1])], X[:, 1:]),
    "all, backwards": (8, [step("Slice", "x", "a", "b", "c", "d")],
                       [("a", [7]), ("b", [-99]), ("c", [0]), ("d", [-1])], X[::-1]),
    "the last of it": (8, [step("Slice", "x", "a", "b")], [("a", [-1]), ("b", [LAST])], X[-1:]),
    "one of it": (8, [step("Gather", "x", "a")], [("a", 0)], X[0]),
    "one of another axis": (1, [step("Gather", "x", "a", axis=1)], [("a", 0)], X[:, 0]),
    "a mean over it": (8, [step("ReduceMean", "x", axes=[0])], [], X.mean(0, keepdims=True)),
}  # fmt: skip


@pytest.mark.parametrize("name", FOLLOW)
def test_constants_that_stem_from_the_extent_follow(name: str) -> None:
    batch, nodes, arrays, want = FOLLOW[name]
    arrays = [(key, np.array(value, np.int64)) for key, value in arrays]
    net = lm.onnx.load(model(*nodes, batch=batch, arrays=arrays), free="batch")
    # A mean of five terms apart, nothing is computed.
    np.testing.assert_allclose(net(X), want, rtol=1e-6)


REFUSE = {
    "Reshape": (1, [step("Reshape", "x", "a")], [("a", [3, 4])]),
    "Flattening": (1, [step("Reshape", "x", "a")], [("a", [12])]),
    "Split in two": (8, [step("Reshape", "x", "a")], [("a", [2, 4, 12])]),
    "Gather": (1, [step("Gather", "x", "a")], [("a", 0)]),
    "Gather of all": (8, [step("Gather", "x", "a")], [("a", list(range(8)))]),
    "Squeeze": (1, [step("Squeeze", "x", "a")], [("a", [0])]),
    "Squeeze of whatever": (1, [step("Squeeze", "x")], []),
    "Add": (8, [step("Add", "x", "w")], [("w", np.ones((8, 3, 4), np.float32))]),
    "Concat": (8, [step("Concat", "x", "w", axis=1)], [("w", np.ones((8, 1, 4), np.float32))]),
    "Split": (8, [step("Split", "x", "a", axis=0)], [("a", [8])]),
}


@pytest.mark.parametrize("name", REFUSE)
def test_what_holds_to_the_extent_names_its_node(name: str) -> None:
    batch, nodes, arrays = REFUSE[name]
    arrays = [(key, value if isinstance(value, np.ndarray) else np.array(value, np.int64))
              for key, value in arrays]  # fmt: skip
    net = lm.onnx.load(model(*nodes, batch=batch, arrays=arrays), free="batch")
    with pytest.raises(ShapeError, match=f"the {nodes[0].op_type}'.*extents of the file"):
        net(X)
    # The file's own extent still runs.
    net(np.resize(X, (batch, 3, 4)))


def test_outputs_promise_no_freed_extent() -> None:
    made = helper.make_graph(
        [step("Relu", "x")], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [8, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [8, 4])],
    )  # fmt: skip
    data = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)],
                             ir_version=9).SerializeToString()  # fmt: skip
    shapes = [lm.onnx.load(data, free=free).outputs[0].shape for free in
              (None, "n", {"x": 0}, {"x": {0: "n"}, "y": {0: "n"}})]  # fmt: skip
    assert shapes == [(8, 4), ("n", 4), (None, 4), ("n", 4)]


def test_wrong_wishes() -> None:
    data = dense(1, [1, -1])
    with pytest.raises(ValueError, match=r"no input; got names=\['z'\]"):
        lm.onnx.load(data, free={"z": 0})
    with pytest.raises(ShapeError, match="no axis of this input"):
        lm.onnx.load(data, free={"x": [3]})


def test_stages_keep_the_extents_of_the_file() -> None:
    data = model(step("NonZero", "x", out="i"), step("Cast", "i", to=1), batch=2)
    net = lm.onnx.load(data, free="batch")
    net(X[:2])
    with pytest.raises(UnsupportedError, match="stages"):
        net(X)


@pytest.mark.parametrize(
    ("before", "after", "target", "want"),
    [
        ((8, 3, 4), (5, 3, 4), (8, 12), (5, 12)),
        ((8, 3, 4), (5, 3, 4), (24, 4), (15, 4)),
        ((8, 3, 4), (5, 3, 4), (96,), (60,)),
        ((8, 12), (5, 12), (8, 3, 4), (5, 3, 4)),
        ((3, 8, 4), (3, 5, 4), (3, 8, 2, 2), (3, 5, 2, 2)),
        ((8, 12), (5, 12), (2, 4, 12), None),
        ((1, 12), (5, 12), (1, 3, 4), (5, 3, 4)),
        ((1, 12), (5, 12), (12,), None),
        ((1, 12), (5, 12), (12, 1), None),
        ((12, 1), (12, 5), (12, 1), (12, 5)),
        ((12, 1), (12, 5), (12,), None),
        ((0, 3), (5, 3), (0, 3), None),
    ],
)
def test_realigned(before, after, target, want) -> None:
    assert realigned(before, after, target) == want
