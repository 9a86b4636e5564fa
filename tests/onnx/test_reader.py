# SPDX-License-Identifier: Apache-2.0
"""The reader against the onnx package: every model of ONNX's suite says the same to both."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from lamella.onnx import encoding, tensors
from lamella.onnx.model import GraphProto, NodeProto, TensorProto, read

pytest.importorskip("onnx")
from onnx import helper, numpy_helper


@pytest.fixture(scope="module")
def models() -> list[Any]:
    with warnings.catch_warnings():
        # The suite's own data overflow while they are made.
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        return [case.model for case in collect_testcases(None)]


def same_tensor(ours: TensorProto, theirs: Any) -> None:
    assert (ours.name, ours.data_type) == (theirs.name, theirs.data_type)
    assert ours.dims == tuple(theirs.dims)
    if ours.data_type == tensors.STRING or tensors.stored_dtype(ours.data_type) is None:
        return
    want = numpy_helper.to_array(theirs)
    got = tensors.array(ours)
    assert got.dtype == tensors.dtype(ours.data_type)
    np.testing.assert_array_equal(got, want.astype(got.dtype))


def same_value(ours: Any, theirs: Any) -> None:
    if isinstance(ours, TensorProto):
        same_tensor(ours, theirs)
    elif isinstance(ours, GraphProto):
        same_graph(ours, theirs)
    elif isinstance(ours, tuple):
        assert len(ours) == len(theirs)
        for one, two in zip(ours, theirs, strict=True):
            same_value(one, two)
    elif isinstance(ours, int | float | bytes):
        assert ours == theirs or (ours != ours and theirs != theirs)
    else:
        # Sparse tensors and types, of which no rule takes one.
        assert type(theirs).__name__ in ("SparseTensorProto", "TypeProto")


def same_node(ours: NodeProto, theirs: Any) -> None:
    assert (ours.name, ours.op_type, ours.domain) == (theirs.name, theirs.op_type, theirs.domain)
    assert ours.inputs == tuple(theirs.input)
    assert ours.outputs == tuple(theirs.output)
    assert len(ours.attributes) == len(theirs.attribute)
    for one, two in zip(ours.attributes, theirs.attribute, strict=True):
        assert (one.name, one.reference) == (two.name, two.ref_attr_name)
        if not one.reference:
            same_value(one.value, helper.get_attribute_value(two))


def same_graph(ours: GraphProto, theirs: Any) -> None:
    assert len(ours.nodes) == len(theirs.node)
    for one, two in zip(ours.nodes, theirs.node, strict=True):
        same_node(one, two)
    assert len(ours.initializers) == len(theirs.initializer)
    for one, two in zip(ours.initializers, theirs.initializer, strict=True):
        same_tensor(one, two)
    for mine, other in ((ours.inputs, theirs.input), (ours.outputs, theirs.output)):
        assert [info.name for info in mine] == [info.name for info in other]
        for info, declared in zip(mine, other, strict=True):
            if declared.type.HasField("tensor_type"):
                kind = declared.type.tensor_type
                assert (info.kind, info.elem_type) == ("tensor", kind.elem_type)
                if kind.HasField("shape"):
                    dims = [getattr(dim, dim.WhichOneof("value") or "", None) or
                            (0 if dim.HasField("dim_value") else None)
                            for dim in kind.shape.dim]  # fmt: skip
                    assert list(info.shape or ()) == dims
            else:
                assert info.kind != "tensor" or not declared.HasField("type")


def test_every_model_of_the_suite(models: list[Any]) -> None:
    assert len(models) > 1500
    for model in models:
        ours = read(model.SerializeToString())
        assert ours.ir_version == model.ir_version
        assert ours.opsets == tuple((o.domain, o.version) for o in model.opset_import)
        same_graph(ours.graph, model.graph)
        assert [f.name for f in ours.functions] == [f.name for f in model.functions]
        for one, two in zip(ours.functions, model.functions, strict=True):
            assert one.inputs == tuple(two.input)
            assert len(one.nodes) == len(two.node)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.bool_])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 1, 3)])
def test_what_we_write_they_read(dtype: Any, shape: tuple[int, ...]) -> None:
    import onnx

    array = np.ones(shape, dtype)
    theirs = onnx.TensorProto.FromString(encoding.tensor("name", array))
    got = numpy_helper.to_array(theirs)
    assert (theirs.name, got.dtype) == ("name", array.dtype)
    np.testing.assert_array_equal(got, array)
