# SPDX-License-Identifier: Apache-2.0
"""The interface of ONNX's own test suite: onnx.backend.base on the same reader as `load`.

The only file of lamella that imports the onnx package. A model is serialised and read again, so
that there is one path; results are cast to the types that the graph declares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper
from onnx.backend.base import Backend as _Base
from onnx.backend.base import BackendRep as _Rep

from lamella.onnx.network import Model, load

__all__ = ["Backend", "BackendRep"]


class BackendRep(_Rep):  # type: ignore[misc]
    """A prepared model: run(inputs) gives a tuple of arrays."""

    def __init__(self, net: Model, types: Sequence[np.dtype[Any] | None]) -> None:
        self.net = net
        self._types = types

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The outputs for a list of inputs, a dict of them by name, or a single one."""
        if isinstance(inputs, Mapping):
            given: tuple[Any, ...] = tuple(inputs[name] for name in self.net.input_names)
        elif isinstance(inputs, np.ndarray):
            given = (inputs,)
        else:
            given = tuple(inputs)
        results = self.net(*(_widened(np.asarray(x)) for x in given))
        results = results if isinstance(results, tuple) else (results,)
        with np.errstate(all="ignore"):
            return tuple(
                y if dtype is None else np.asarray(y).astype(dtype)
                for y, dtype in zip(results, self._types, strict=True)
            )


def _widened(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Types that are none of NumPy's own as what they are computed as."""
    name = array.dtype.name
    if name.startswith(("bfloat16", "float8", "float4")):
        return array.astype(np.float32)
    if name.startswith(("int2", "int4", "uint2", "uint4")):
        return array.astype(np.uint8 if name.startswith("u") else np.int8)
    return array


class Backend(_Base):  # type: ignore[misc]
    """lamella as a backend of ONNX's test suite.

    >>> import numpy as np, onnx, lamella as lm
    >>> node = onnx.helper.make_node("Relu", ["x"], ["y"])
    >>> lm.onnx.Backend.run_node(node, [np.array([-1.0, 2.0], np.float32)])[0]
    array([0., 2.], dtype=float32)
    """

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **kwargs: Any) -> BackendRep:
        """Loads a ModelProto."""
        super().prepare(model, device, **kwargs)
        net = load(model.SerializeToString())
        types = [_dtype(output.type) for output in model.graph.output]
        return BackendRep(net, types)

    @classmethod
    def run_model(cls, model: Any, inputs: Any, device: str = "CPU", **kwargs: Any) -> Any:
        """Loads a ModelProto and runs it once."""
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(
        cls, node: Any, inputs: Any, device: str = "CPU", outputs_info: Any = None, **kwargs: Any
    ) -> tuple[Any, ...]:
        """Runs one NodeProto on arrays, at the newest opset or opset_version=."""
        super().run_node(node, inputs, device, outputs_info, **kwargs)
        names = [name for name in node.input if name]
        arrays = [np.asarray(x) for x in inputs]
        graph = helper.make_graph(
            [node],
            "node",
            [
                helper.make_tensor_value_info(
                    name, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape
                )
                for name, x in zip(names, arrays, strict=True)
            ],
            [onnx.ValueInfoProto(name=name) for name in node.output if name],
        )
        version = kwargs.get("opset_version", onnx.defs.onnx_opset_version())
        opsets = [helper.make_opsetid("", version), helper.make_opsetid("ai.onnx.ml", 3)]
        model = helper.make_model(graph, opset_imports=opsets)
        results = load(model.SerializeToString())(*map(_widened, arrays))
        return results if isinstance(results, tuple) else (results,)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """CPU alone."""
        return device.split(":")[0] == "CPU"


def _dtype(declared: Any) -> np.dtype[Any] | None:
    if not declared.HasField("tensor_type") or not declared.tensor_type.elem_type:
        return None
    found: np.dtype[Any] = helper.tensor_dtype_to_np_dtype(declared.tensor_type.elem_type)
    return found
