# SPDX-License-Identifier: Apache-2.0
"""A case as a model of one node, and its runs: lamella, ONNX Runtime, onnx's ReferenceEvaluator.

lamella computes half floats as float32. The oracles therefore get a case with its half floats
widened, the same numbers under another type; lamella gets it as it is. A run gives arrays or an
error.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, replace
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, defs, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import lamella as lm
from corners.draw import BFLOAT16, CONSTANT, FED, HALVES, INITIALIZER, ML, Case
from lamella.onnx import tensors

_TYPES = ("to", "dtype", "output_dtype", "output_datatype", "stash_type", "softmax_precision")
_NARROW = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


@dataclass
class Outcome:
    """Arrays, or why there are none."""

    arrays: list[np.ndarray] | None
    error: Exception | None = None

    def __str__(self) -> str:
        if self.arrays is None:
            text = " ".join(str(self.error).split())
            return f"{type(self.error).__name__}: {text[:300]}"
        return "; ".join(
            f"{y.dtype}{list(y.shape)} {np.array2string(y.reshape(-1)[:24], max_line_width=200)}"
            for y in self.arrays
        )


def widened(case: Case, to: Any = np.float32, also: tuple[Any, ...] = ()) -> Case:
    """The case with its half floats (and the types of `also`) as another type."""
    narrow = (*HALVES, *map(np.dtype, also))
    number = helper.np_dtype_to_tensor_dtype(np.dtype(to))
    numbers = [helper.np_dtype_to_tensor_dtype(dtype) for dtype in narrow]

    def wide(value: Any) -> Any:
        return (
            value.astype(to) if isinstance(value, np.ndarray) and value.dtype in narrow else value
        )

    with np.errstate(all="ignore"):
        attributes = {
            name: number if name in _TYPES and value in numbers else wide(value)
            for name, value in case.attributes.items()
        }
        return replace(case, inputs=[wide(x) for x in case.inputs], attributes=attributes)


def model_of(case: Case) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """The model, its outputs declared with their element types, and what is fed to it."""
    names = [f"x{i}" if x is not None else "" for i, x in enumerate(case.inputs)]
    outputs = [f"y{i}" if wanted else "" for i, wanted in enumerate(case.outputs)]
    attributes = {
        name: numpy_helper.from_array(value, name) if isinstance(value, np.ndarray) else value
        for name, value in case.attributes.items()
    }
    nodes, known, infos, feeds = [], [], [], {}
    for name, x, place in zip(names, case.inputs, case.places, strict=True):
        if x is None:
            continue
        if place == FED:
            kind = helper.np_dtype_to_tensor_dtype(x.dtype)
            infos.append(helper.make_tensor_value_info(name, kind, x.shape))
            feeds[name] = x
        elif place == INITIALIZER:
            known.append(numpy_helper.from_array(x, name))
        elif place == CONSTANT:
            nodes.append(
                helper.make_node("Constant", [], [name], value=numpy_helper.from_array(x, name))
            )
    nodes.append(helper.make_node(case.op, names, outputs, domain=case.domain, **attributes))
    graph = helper.make_graph(
        nodes, "case", infos, [onnx.ValueInfoProto(name=y) for y in outputs if y], known
    )
    opsets = [helper.make_opsetid("", case.opset if not case.domain else 17)]
    if case.domain:
        opsets.append(helper.make_opsetid(ML, case.opset))
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    inferred = onnx.shape_inference.infer_shapes(model).graph.output
    wanted = [position for position, asked in enumerate(case.outputs) if asked]
    for output, found, position in zip(model.graph.output, inferred, wanted, strict=True):
        kind = found.type.tensor_type.elem_type or _by_schema(case, position)
        output.type.tensor_type.elem_type = kind
    return model, feeds


def _by_schema(case: Case, position: int) -> int:
    """The element type of an output by the schema's types; for versions that infer none."""
    schema = defs.get_schema(case.op, case.opset, case.domain)
    name = schema.outputs[position].type_str
    if "output_datatype" in schema.attributes:
        return int(case.attributes.get("output_datatype", TensorProto.FLOAT))
    for formal, x in zip(schema.inputs, case.inputs, strict=False):
        if formal.type_str == name and x is not None:
            return int(helper.np_dtype_to_tensor_dtype(x.dtype))
    return next((n for n in tensors.DTYPES if f"tensor({tensors.type_name(n)})" == name), 0)


def run_ours(case: Case) -> Outcome:
    try:
        model, feeds = model_of(case)
        fed = {
            name: x.astype(np.float32) if x.dtype == BFLOAT16 else x for name, x in feeds.items()
        }
        data = model.SerializeToString()
        result = lm.onnx.load(data)(**fed)
    except Exception as error:
        return Outcome(None, error)
    return Outcome(list(result) if isinstance(result, tuple) else [result])


def run_runtime(case: Case) -> Outcome:
    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        model, feeds = model_of(case)
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return Outcome([np.asarray(y) for y in session.run(None, feeds)])
    except Exception as error:
        return Outcome(None, error)


def run_reference(case: Case) -> Outcome:
    # Some of its defaults are double where the schema's are float32 numbers.
    schema = defs.get_schema(case.op, case.opset, case.domain)
    defaults = {
        name: attribute.default_value.f
        for name, attribute in schema.attributes.items()
        if attribute.default_value.type == onnx.AttributeProto.FLOAT
    }
    try:
        model, feeds = model_of(replace(case, attributes={**defaults, **case.attributes}))
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            found = ReferenceEvaluator(model).run(None, feeds)
        return Outcome([np.asarray(y) for y in found])
    except Exception as error:
        return Outcome(None, error)


def declared(case: Case) -> list[np.dtype[Any] | None]:
    """The element types of the outputs that are asked for, None where the schema does not tell."""
    try:
        model, _ = model_of(case)
    except Exception:
        return [None] * sum(case.outputs)
    kinds = [output.type.tensor_type.elem_type for output in model.graph.output]
    return [np.dtype(helper.tensor_dtype_to_np_dtype(kind)) if kind else None for kind in kinds]
