# SPDX-License-Identifier: Apache-2.0
"""Element types through imported models: integers keep their width and wrap at it; so do floats.

Each operator runs three times: with its operands given at the call, known from the file, and beside
floating work, where integers of every width travel through a program as int64. The oracle is NumPy.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lamella as lm
from comparators import same_bits
from lamella import nn
from lamella.errors import DTypeError
from lamella.runtime.session import trace

pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper

INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
INDEX = np.array([1, 0], np.int64)


def edges(dtype: str) -> np.ndarray:
    """Two rows: both ends of the type, and small numbers of both signs."""
    limits = np.iinfo(dtype)
    small = [0, 3, 2] if limits.min == 0 else [-1, 3, -2]
    return np.array([[limits.min, limits.max, limits.max - 1], small], dtype)


def divided(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Towards zero, exactly: through Python's integers."""

    def one(x: int, y: int) -> int:
        return (abs(x) // abs(y)) * (1 if (x < 0) == (y < 0) else -1)

    pairs = zip(a.reshape(-1).tolist(), np.broadcast_to(b, a.shape).reshape(-1).tolist(),
                strict=True)  # fmt: skip
    wide = np.array([one(x, y) % 2 ** (8 * a.itemsize) for x, y in pairs], np.uint64)
    return wide.astype(f"u{a.itemsize}").view(a.dtype).reshape(a.shape)


def constant(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


# operator: what stands beside x among its operands, attributes, and NumPy's own words for it.
MOVES: dict[str, tuple[dict[str, np.ndarray], dict[str, Any], Callable[[np.ndarray], Any]]] = {
    "Identity": ({}, {}, lambda x: x),
    "Gather": ({"i": INDEX}, {"axis": 1}, lambda x: x[:, INDEX]),
    "GatherElements": ({"i": np.array([[1, 0, 1]])}, {}, lambda x: np.take_along_axis(
        x, np.array([[1, 0, 1]]), 0)),
    "Transpose": ({}, {}, lambda x: x.T),
    "Reshape": ({"s": constant(3, 2)}, {}, lambda x: x.reshape(3, 2)),
    "Flatten": ({}, {"axis": 0}, lambda x: x.reshape(1, 6)),
    "Unsqueeze": ({"a": constant(0)}, {}, lambda x: x[None]),
    "Expand": ({"s": constant(2, 2, 3)}, {}, lambda x: np.stack([x, x])),
    "Tile": ({"r": constant(1, 2)}, {}, lambda x: np.tile(x, (1, 2))),
    "Slice": ({"a": constant(2), "b": constant(-9), "c": constant(1), "d": constant(-1)}, {},
              lambda x: x[:, ::-1]),
    "Pad": ({"p": constant(0, 1, 0, 1)}, {}, lambda x: np.pad(x, ((0, 0), (1, 1)))),
    "Trilu": ({}, {}, np.triu),
    "ReverseSequence": ({"l": constant(1, 2)}, {"time_axis": 1, "batch_axis": 0},
                        lambda x: np.array([x[0], [x[1, 1], x[1, 0], x[1, 2]]])),
}  # fmt: skip
ARITHMETIC: dict[str, tuple[dict[str, Any], Callable[[np.ndarray, np.ndarray], Any]]] = {
    "Add": ({}, lambda a, b: a + b),
    "Sub": ({}, lambda a, b: a - b),
    "Mul": ({}, lambda a, b: a * b),
    "Div": ({}, divided),
    "Mod": ({}, np.mod),
    "Max": ({}, np.maximum),
    "Min": ({}, np.minimum),
    "Sum": ({}, lambda a, b: a + b),
    "Concat": ({"axis": 0}, lambda a, b: np.concatenate([a, b])),
    "BitwiseAnd": ({}, np.bitwise_and),
    "BitwiseOr": ({}, np.bitwise_or),
    "BitwiseXor": ({}, np.bitwise_xor),
}
ALONE: dict[str, tuple[dict[str, Any], Callable[[np.ndarray], Any]]] = {
    "Neg": ({}, lambda x: np.zeros((), x.dtype) - x),
    "Abs": ({}, np.abs),
    "Sign": ({}, np.sign),
    "Relu": ({}, lambda x: np.maximum(x, np.zeros((), x.dtype))),
    "BitwiseNot": ({}, np.invert),
    "ReduceSum": ({"keepdims": 0}, lambda x: x.sum(dtype=x.dtype)),
    "ReduceProd": ({"keepdims": 0}, lambda x: x.prod(dtype=x.dtype)),
    "ReduceMax": ({"keepdims": 0}, np.max),
    "ReduceMin": ({"keepdims": 0}, np.min),
    "ReduceSumSquare": ({"keepdims": 0}, lambda x: (x * x).sum(dtype=x.dtype)),
}


def model(op: str, feeds: dict[str, np.ndarray], known: set[str], floating: bool, **attributes):
    """One node, with floating work beside it on demand."""
    kinds = {n: helper.np_dtype_to_tensor_dtype(x.dtype) for n, x in feeds.items()}
    nodes = [helper.make_node(op, list(feeds), ["y"], **attributes)]
    inputs = [helper.make_tensor_value_info(n, kinds[n], x.shape)
              for n, x in feeds.items() if n not in known]  # fmt: skip
    outputs = [helper.make_tensor_value_info("y", next(iter(kinds.values())), None)]
    if floating:
        nodes.append(helper.make_node("Exp", ["f"], ["e"]))
        inputs.append(helper.make_tensor_value_info("f", TensorProto.FLOAT, [2]))
        outputs.append(helper.make_tensor_value_info("e", TensorProto.FLOAT, [2]))
    arrays = [numpy_helper.from_array(feeds[n], n) for n in known]
    graph = helper.make_graph(nodes, "g", inputs, outputs, arrays)
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()


def check(op: str, feeds: dict[str, np.ndarray], want: Any, **attributes: Any) -> None:
    beside = set(feeds) - {"x", "z"}
    for known, floating in ((beside, False), (set(feeds), False), (beside, True)):
        net = lm.onnx.load(model(op, feeds, known, floating, **attributes))
        given = {n: x for n, x in feeds.items() if n not in known}
        if floating:
            given["f"] = np.zeros(2, np.float32)
        for _ in range(2):
            result = net(**given)
            got = result[0] if floating else result
            assert got.dtype == feeds["x"].dtype, (op, known, floating)
            np.testing.assert_array_equal(got, want, f"{op} {known} {floating}")


@pytest.mark.parametrize("dtype", [*INTEGERS, "bool"])
def test_moving(dtype: str) -> None:
    x = edges(dtype) if dtype != "bool" else np.array([[True, False, True], [False, False, True]])
    for op, (beside, attributes, numpy) in MOVES.items():
        check(op, {"x": x, **beside}, numpy(x), **attributes)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_computing(dtype: str) -> None:
    x, z = edges(dtype), np.roll(edges(dtype), 1)
    with np.errstate(all="ignore"):
        for op, (attributes, numpy) in ARITHMETIC.items():
            other = np.where(z == 0, np.ones_like(z), z) if op in ("Div", "Mod") else z
            check(op, {"x": x, "z": other}, numpy(x, other), **attributes)
        for op, (attributes, alone) in ALONE.items():
            check(op, {"x": x}, alone(x), **attributes)


def runs_as_program(net: lm.onnx.Model) -> bool:
    """Whether a call of these types is one program."""
    inputs = {info.name: info.dtype for info in net.inputs}
    return net._stages.engine(net._plan, inputs).is_program


def graph(nodes, inputs, outputs, arrays=()) -> bytes:
    made = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info(*one) for one in inputs],
        [helper.make_tensor_value_info(*one) for one in outputs],
        [numpy_helper.from_array(array, name) for name, array in arrays],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(made, opset_imports=opsets, ir_version=9).SerializeToString()


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_meet_floats_and_each_other(dtype: str) -> None:
    """Casts, comparisons and choices in front of and behind floating work."""
    x, kind = edges(dtype), helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"]),
        helper.make_node("Cast", ["t"], ["c"], to=TensorProto.FLOAT),
        helper.make_node("Greater", ["t", "two"], ["g"]),
        helper.make_node("Where", ["g", "t", "two"], ["w"]),
        helper.make_node("CastLike", ["f", "t"], ["l"]),
        helper.make_node("ArgMax", ["f"], ["a"], axis=0),
    ]
    inputs = [("x", kind, ["n", 3]), ("f", TensorProto.FLOAT, [2])]
    outputs = [("t", kind, None), ("c", TensorProto.FLOAT, None), ("g", TensorProto.BOOL, None),
               ("w", kind, None), ("l", kind, None), ("a", TensorProto.INT64, None)]  # fmt: skip
    net = lm.onnx.load(graph(nodes, inputs, outputs, [("two", np.array(2, dtype))]))
    f = np.float32([1.7, 2.5])
    want = [x.T, x.T.astype(np.float32), x.T > 2, np.where(x.T > 2, x.T, np.array(2, dtype)),
            f.astype(dtype), np.array([1])]  # fmt: skip
    for _ in range(2):
        for got, right in zip(net(x, f), want, strict=True):
            assert got.dtype == right.dtype
            np.testing.assert_array_equal(got, right)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_one_program_hands_back_the_declared_width(dtype: str) -> None:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes = [helper.make_node("Flatten", ["x"], ["y"], axis=0),
             helper.make_node("Exp", ["f"], ["e"])]  # fmt: skip
    data = graph(nodes, [("x", kind, [2, 3]), ("f", TensorProto.FLOAT, [2])],
                 [("y", kind, None), ("e", TensorProto.FLOAT, None)])  # fmt: skip
    net, x, f = lm.onnx.load(data), edges(dtype), np.zeros(2, np.float32)
    assert runs_as_program(net)
    y, _ = net(x, f)
    assert runs_as_program(net)
    out = (np.empty((1, 6), dtype), np.empty(2, np.float32))
    assert net(x, f, out=out) is out
    np.testing.assert_array_equal(out[0], y)
    with pytest.raises(DTypeError, match="another dtype"):
        net(x, f, out=(np.empty((1, 6), "f4"), out[1]))
    session = lm.compile(net, x, f)
    assert session(x, f)[0].dtype == y.dtype == dtype
    # As a part of another module, and in copies, as well.
    assert copy.deepcopy(net)(x, f)[0].dtype == dtype

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = lm.onnx.load(data)

        def forward(self, x, f):
            return self.inner(x, f)[0]

    np.testing.assert_array_equal(Outer()(x.astype(np.int64), f).astype(dtype), y)
    if dtype not in ("int64", "uint64"):
        # More than the type holds is refused at every call, not only the first.
        for _ in range(2):
            with pytest.raises(DTypeError, match="does not hold"):
                net(np.full((2, 3), 2**40), f)


def test_floats_have_the_declared_type() -> None:
    """A file of both precisions computes in each, a converted net in what it was converted to."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("Add", ["d", "third"], ["z"]),
        helper.make_node("Cast", ["z"], ["n"], to=TensorProto.FLOAT),
    ]
    ends = [("x", TensorProto.FLOAT, [1, 2]), ("d", TensorProto.DOUBLE, [1])]
    outputs = [("y", TensorProto.FLOAT, None), ("z", TensorProto.DOUBLE, None),
               ("n", TensorProto.FLOAT, None)]  # fmt: skip
    arrays = [("w", np.ones((2, 1), np.float32)), ("third", np.array(1 / 3))]
    net = lm.onnx.load(graph(nodes, ends, outputs, arrays))
    x, d = np.float32([[1, 2]]), np.array([0.1])
    for given in ((x, d), (x.astype(np.float64), d)):
        y, z, n = net(*given)
        assert (y.dtype, z.dtype, n.dtype) == (np.float32, np.float64, np.float32)
        assert z == 0.1 + 1 / 3
        assert n == np.float32(0.1 + 1 / 3)
    y, z, _ = net.double()(x, d)
    assert (y.dtype, z.dtype) == (np.float64, np.float64)
    # Without parameters the declared type alone decides.
    plain = graph([helper.make_node("Exp", ["x"], ["y"])], ends[:1], [("y", 1, None)])
    assert lm.onnx.load(plain)(x.astype(np.float64)).dtype == np.float32
    wide = [("x", TensorProto.DOUBLE, [1, 2])]
    plain = graph([helper.make_node("Exp", ["x"], ["y"])], wide, [("y", TensorProto.DOUBLE, None)])
    assert lm.onnx.load(plain)(x).dtype == np.float64


@pytest.mark.parametrize(
    "op",
    [
        "Asin",
        "Acos",
        "Atan",
        "Sinh",
        "Cosh",
        "Asinh",
        "Atanh",
        "Selu",
        "HardSigmoid",
        "Swish",
        "Softplus",
        "ThresholdedRelu",
        "Shrink",
    ],
)
@pytest.mark.parametrize("shape", [(1, 3), (), (0, 3)])
def test_no_number_of_a_rule_widens(op: str, shape: tuple[int, ...]) -> None:
    """Nothing between is float64 either: no program of a float32 model has a cast."""
    data = graph([helper.make_node(op, ["x"], ["y"])], [("x", TensorProto.FLOAT, list(shape))],
                 [("y", TensorProto.FLOAT, None)]).replace(b"\x10\x12", b"\x10\x18")  # fmt: skip
    net = lm.onnx.load(data)
    session = lm.compile(net, np.full(shape, 0.5, np.float32))
    traced = trace(net, (np.full(shape, 0.5, np.float32),))[0]
    types = {str(value.dtype) for node in traced.nodes for value in node.outputs}
    assert types <= {"float32", "bool"}, types
    same_bits(net(np.full(shape, 0.5, np.float32)), session(np.full(shape, 0.5, np.float32)))


@pytest.mark.parametrize("dtype", INTEGERS)
def test_what_is_moved_in_a_program_keeps_its_type(dtype: str) -> None:
    """An output without a declared type, and numbers behind a move that need the sign."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"]),
        helper.make_node("Slice", ["t", "one", "three"], ["s"]),
        helper.make_node("Concat", ["s", "t"], ["y"], axis=0),
        helper.make_node("Exp", ["f"], ["e"]),
    ]
    arrays = [("one", constant(1)), ("three", constant(3)), ("two", np.array(2, dtype))]
    ends = [("x", kind, [2, 3]), ("f", TensorProto.FLOAT, [2])]
    moved = [("y", TensorProto.UNDEFINED, None), ("e", TensorProto.FLOAT, None)]
    x, f = edges(dtype), np.zeros(2, np.float32)
    net = lm.onnx.load(graph(nodes, ends, moved, arrays))
    y, _ = net(x, f)
    assert runs_as_program(net)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, np.concatenate([x.T[1:], x.T]))
    nodes += [helper.make_node("Cast", ["y"], ["c"], to=TensorProto.FLOAT),
              helper.make_node("Greater", ["y", "two"], ["g"])]  # fmt: skip
    more = [("c", TensorProto.FLOAT, None), ("g", TensorProto.BOOL, None)]
    _, _, cast, greater = lm.onnx.load(graph(nodes, ends, moved + more, arrays))(x, f)
    np.testing.assert_array_equal(cast, y.astype(np.float32))
    np.testing.assert_array_equal(greater, y > 2)
