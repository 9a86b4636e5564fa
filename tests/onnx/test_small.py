# SPDX-License-Identifier: Apache-2.0
"""Element types of few bits: read as the numbers that ml_dtypes has for every code, computed with
where a rule takes them for what they are, refused where it would not.
"""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("ml_dtypes")

import ml_dtypes
import onnx
from onnx import TensorProto, helper

import lamella as lm
from comparators import same_bits
from lamella.errors import FormatError, UnsupportedError
from lamella.onnx.small import SMALL, decoded, room

KINDS = {
    TensorProto.FLOAT8E4M3FN: ml_dtypes.float8_e4m3fn,
    TensorProto.FLOAT8E4M3FNUZ: ml_dtypes.float8_e4m3fnuz,
    TensorProto.FLOAT8E5M2: ml_dtypes.float8_e5m2,
    TensorProto.FLOAT8E5M2FNUZ: ml_dtypes.float8_e5m2fnuz,
    TensorProto.UINT4: ml_dtypes.uint4,
    TensorProto.INT4: ml_dtypes.int4,
    TensorProto.FLOAT4E2M1: ml_dtypes.float4_e2m1fn,
    TensorProto.FLOAT8E8M0: ml_dtypes.float8_e8m0fnu,
    TensorProto.UINT2: ml_dtypes.uint2,
    TensorProto.INT2: ml_dtypes.int2,
}


def build(nodes, inputs, outputs, tensors=()) -> bytes:
    infos = [helper.make_tensor_value_info(*one) for one in inputs]
    graph = helper.make_graph(
        nodes, "g", infos, [helper.make_tensor_value_info(*one) for one in outputs], tensors
    )
    opsets = [helper.make_opsetid("", 25)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=12).SerializeToString()


@pytest.mark.parametrize("kind", sorted(SMALL))
def test_every_code_is_its_number(kind: int) -> None:
    small, codes = SMALL[kind], np.arange(256, dtype=np.uint8)[: 2 ** SMALL[kind].bits]
    packed = np.zeros(room(small, codes.size), np.uint8)
    for i, code in enumerate(codes):
        packed[i * small.bits // 8] |= code << (i * small.bits % 8)
    want = codes.view(KINDS[kind]).astype(small.dtype)
    got = decoded(small, packed, codes.size)
    assert got.dtype == small.dtype
    numbers = want == want
    same_bits(got[numbers], want[numbers])
    assert (got[~numbers] != got[~numbers]).all()


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("kind", [TensorProto.INT4, TensorProto.UINT2])
def test_weights_of_few_bits_are_dequantised(kind: int, raw: bool) -> None:
    """An odd number of elements, whose last byte is not full; blocks of four share a scale."""
    values = np.array([[0, 1, 3, 2, 1], [1, 0, 2, 3, 3], [2, 2, 0, 1, 0]])
    typed = values.astype(KINDS[kind])
    tensor = (
        onnx.numpy_helper.from_array(typed, "w")
        if raw
        else helper.make_tensor("w", kind, typed.shape, typed.reshape(-1).tolist())
    )
    scale = np.array([[0.5, 2.0], [1.5, 0.25], [3.0, 1.0]], np.float32)
    data = build(
        [helper.make_node("DequantizeLinear", ["w", "s"], ["d"], axis=1, block_size=4),
         helper.make_node("MatMul", ["x", "d"], ["y"])],
        [("x", TensorProto.FLOAT, [2, 3])], [("y", TensorProto.FLOAT, [2, 5])],
        [tensor, onnx.numpy_helper.from_array(scale, "s")],
    )  # fmt: skip
    x = np.array([[1.0, -2.0, 0.5], [0.0, 4.0, 1.0]], np.float32)
    want = x @ (values * np.repeat(scale, 4, axis=1)[:, :5])
    np.testing.assert_allclose(lm.onnx.load(data)(x), want, rtol=1e-6)


@pytest.mark.parametrize("known", [True, False])
def test_casts_wrap(known: bool) -> None:
    """Modulo 16, by CastLike too, where only the file says that its operand has four bits."""
    x = np.arange(-20, 20)
    like = helper.make_tensor("like", TensorProto.INT4, (1,), [0])
    nodes = [
        helper.make_node("CastLike", ["x", "like"], ["s"]),
        helper.make_node("Cast", ["x"], ["u"], to=TensorProto.UINT4),
        helper.make_node("Cast", ["s"], ["y"], to=TensorProto.INT64),
        helper.make_node("Cast", ["u"], ["z"], to=TensorProto.INT64),
    ]
    tensors, inputs = [like], [("x", TensorProto.INT64, [40])]
    if known:
        tensors, inputs = [like, onnx.numpy_helper.from_array(x, "x")], []
    outputs = [("y", TensorProto.INT64, [40]), ("z", TensorProto.INT64, [40])]
    y, z = lm.onnx.load(build(nodes, inputs, outputs, tensors))(*([] if known else [x]))
    np.testing.assert_array_equal(y, (x + 8) % 16 - 8)
    np.testing.assert_array_equal(z, x % 16)


def test_what_would_take_them_for_another_type_is_refused() -> None:
    w = helper.make_tensor("w", TensorProto.INT4, (2,), [1, -2])
    f = onnx.numpy_helper.from_array(np.ones(2, ml_dtypes.float8_e5m2), "f")
    out = [("y", 0, None)]
    for node, told in [
        (helper.make_node("Add", ["w", "w"], ["y"]), "Add-25 on int4"),
        (helper.make_node("Abs", ["f"], ["y"]), "Abs-25 on float8e5m2"),
        (helper.make_node("QuantizeLinear", ["x", "x", "w"], ["y"]), "QuantizeLinear-25 on int4"),
        (helper.make_node("CastLike", ["x", "f"], ["y"]), "to float8e5m2"),
        (helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT8E5M2), "to float8e5m2"),
    ]:
        with pytest.raises(UnsupportedError, match=told):
            lm.onnx.load(build([node], [("x", TensorProto.FLOAT, [2])], out, [w, f]))


def test_sizes_are_judged_before_they_are_believed() -> None:
    short = TensorProto(name="w", data_type=TensorProto.INT4, dims=[3], raw_data=b"\x21")
    node = helper.make_node("Cast", ["w"], ["y"], to=TensorProto.FLOAT)
    with pytest.raises(FormatError, match="2 bytes"):
        lm.onnx.load(build([node], [], [("y", TensorProto.FLOAT, [3])], [short]))
