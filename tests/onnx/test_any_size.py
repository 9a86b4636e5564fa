# SPDX-License-Identifier: Apache-2.0
"""ONNX files with free extents: traced once, evaluated at other sizes, compared with plain traces.

Shapes that a file computes from shapes keep their formulas; what they cannot is named.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import lamella as lm
from lamella.ir.types import DType, TensorType
from lamella.runtime.session import trace
from substitution import check

FOLDER = Path(__file__).parent / "models"
MODELS = sorted(path.name for path in FOLDER.glob("*.onnx"))


@pytest.mark.parametrize("name", MODELS)
def test_exported_models_of_any_batch(name: str) -> None:
    x = np.load(FOLDER / f"{name.split('.')[0]}.npz")["x_7"]
    net = lm.onnx.load(FOLDER / name)

    def arguments(n: int) -> list[TensorType]:
        return [TensorType((n, *x.shape[1:]), DType.of(x.dtype))]

    extents = check(net, arguments, [[(0, 0)]], (7,), [(2,), (64,)])
    assert extents.conditions == []


onnx = pytest.importorskip("onnx")
FLOAT = onnx.TensorProto.FLOAT


def model(*nodes, arrays=(), shape=("n", "t", 12), free=None) -> lm.onnx.Model:
    """Nodes (operator, operands, result, attributes) on x; the last result is y."""
    helper = onnx.helper
    made = helper.make_graph(
        [helper.make_node(op, list(reads), [gives], f"the {op}", **attributes)
         for op, reads, gives, attributes in nodes],
        "g",
        [helper.make_tensor_value_info("x", FLOAT, shape)],
        [helper.make_tensor_value_info("y", 0, None)],
        [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in arrays],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 18)]
    data = helper.make_model(made, opset_imports=opsets, ir_version=9).SerializeToString()
    return lm.onnx.load(data, free=free)


def integers(**arrays) -> list[tuple[str, np.ndarray]]:
    return [(name, np.array(array, np.int64)) for name, array in arrays.items()]


def chain(*nodes, **arrays) -> lm.onnx.Model:
    """x reshaped to what the nodes compute of its shape s, n = s[0] and t = s[1]; they give r."""
    return model(
        ("Shape", ["x"], "s", {}),
        ("Gather", ["s", "zero"], "n", {"axis": 0}),
        ("Gather", ["s", "one"], "t", {"axis": 0}),
        *nodes,
        ("Reshape", ["x", "r"], "y", {}),
        arrays=integers(zero=0, one=1, first=[0], **arrays),
    )


CHAINS = {
    "joined": lambda: chain(
        ("Unsqueeze", ["n", "first"], "a", {}),
        ("Unsqueeze", ["t", "first"], "b", {}),
        ("Concat", ["a", "b", "rest"], "r", {"axis": 0}),
        rest=[3, -1],
    ),
    "sliced": lambda: chain(
        ("Slice", ["s", "first", "two"], "a", {}),
        ("Concat", ["a", "rest"], "r", {"axis": 0}),
        two=[2],
        rest=[4, 3],
    ),
    "multiplied": lambda: chain(
        ("Mul", ["n", "t"], "m", {}),
        ("Unsqueeze", ["m", "first"], "a", {}),
        ("Concat", ["a", "rest"], "r", {"axis": 0}),
        rest=[12],
    ),
    "divided": lambda: chain(
        ("Size", ["x"], "m", {}),
        ("Div", ["m", "t"], "q", {}),
        ("Div", ["q", "six"], "p", {}),
        ("Cast", ["p"], "c", {"to": 7}),
        ("Unsqueeze", ["c", "first"], "a", {}),
        ("Concat", ["a", "rest"], "r", {"axis": 0}),
        six=6,
        rest=[-1],
    ),
    "reduced": lambda: chain(
        ("ReduceProd", ["s"], "a", {"keepdims": 1}),
        ("Identity", ["a"], "r", {}),
    ),
    "chosen": lambda: chain(
        ("Equal", ["s", "twelve"], "e", {}),
        ("Where", ["e", "minus", "s"], "r", {}),
        twelve=[12],
        minus=[-1],
    ),
    "kept": lambda: chain(("Identity", ["rest"], "r", {}), rest=[0, 0, 4, 3]),
    "repeated": lambda: model(
        ("Shape", ["x"], "s", {"start": 1, "end": 2}),
        ("Concat", ["one", "s", "one"], "r", {"axis": 0}),
        ("ReduceMean", ["x", "one"], "m", {}),
        ("Expand", ["m", "r"], "y", {}),
        arrays=integers(one=[1]),
    ),
    "cut": lambda: model(
        ("Shape", ["x"], "s", {"start": 0, "end": 1}),
        ("Div", ["s", "two"], "half", {}),
        ("Slice", ["x", "zero", "half", "zero"], "y", {}),
        arrays=integers(zero=[0], two=[2]),
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_shapes_computed_from_shapes(name: str) -> None:
    def arguments(n: int, t: int) -> list[TensorType]:
        return [TensorType((n, t, 12), DType.float32)]

    sizes = [(2, 7), (8, 3), (64, 100)]
    check(CHAINS[name](), arguments, [[(0, 0)], [(0, 1)]], (6, 5), sizes)


LEAVING = {
    "Range": lambda: model(
        ("Shape", ["x"], "s", {"start": 0, "end": 1}),
        ("Squeeze", ["s"], "n", {}),
        ("Range", ["zero", "n", "one"], "y", {}),
        arrays=integers(zero=0, one=1),
    ),
    "ConstantOfShape": lambda: model(
        ("Shape", ["x"], "s", {"start": 0, "end": 1}), ("ConstantOfShape", ["s"], "y", {})
    ),
    "Cast": lambda: model(
        ("Size", ["x"], "s", {}),
        ("Cast", ["s"], "f", {"to": 1}),
        ("Div", ["x", "f"], "y", {}),
    ),
    "output": lambda: model(("Shape", ["x"], "y", {})),
}


@pytest.mark.parametrize("name", LEAVING)
def test_what_computes_with_sizes_is_named(name: str) -> None:
    graph, _ = trace(LEAVING[name](), [TensorType((6, 5, 12), DType.float32)], free=[[(0, 0)]])
    assert graph.extents is not None
    (reason,) = graph.extents.reasons
    assert name in reason
    assert "computes with sizes (test_any_size.py, line " in reason


def test_freed_extents_are_free() -> None:
    # The file holds its batch in a constant, which follows what a call has.
    net = model(
        ("Reshape", ["x", "r"], "y", {}),
        arrays=integers(r=[4, 3, 4, -1]),
        shape=(4, 3, 12),
        free="batch",
    )

    def arguments(n: int) -> list[TensorType]:
        return [TensorType((n, 3, 12), DType.float32)]

    check(net, arguments, [[(0, 0)]], (7,), [(2,), (64,)], refused=[(4,)])
