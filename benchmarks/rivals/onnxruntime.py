# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime with all optimisations: `run()` on NumPy arrays, with input and output bound, and
with threads that sleep between calls instead of spinning."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ..tasks.activation import Activation
from ..tasks.dense import Dense
from ..tasks.matmul import MatMul
from ..tasks.model import OnnxModel
from ..tasks.network import Network
from ..tasks.rows import Rows

OPERATORS = {"relu": "Relu", "exp": "Exp", "tanh": "Tanh", "sigmoid": "Sigmoid", "gelu": "Gelu"}


def quantised(model: bytes) -> bytes:
    """The model with its layers' weights in int8, by ONNX Runtime's dynamic quantiser.

    Its preprocessing comes first, which puts transposed weights in the place of their transposes.
    """
    from onnxruntime.quantization import quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with TemporaryDirectory() as folder:
        names = [str(Path(folder, name)) for name in ("float.onnx", "ready.onnx", "int8.onnx")]
        Path(names[0]).write_bytes(model)
        quant_pre_process(names[0], names[1], skip_symbolic_shape=True)
        quantize_dynamic(names[1], names[2])
        return Path(names[2]).read_bytes()


class OnnxRuntime:
    """One session per task, weights as initialisers, arrays through `run()`."""

    bound = False
    spinning = True

    def __init__(self, threads: int) -> None:
        import onnx
        import onnxruntime

        self.onnx, self.ort, self.threads = onnx, onnxruntime, threads
        self.version = onnxruntime.__version__

    def _session(self, nodes: list[Any], weights: Any, inputs: Any, shape: Any, result: Any) -> Any:
        helper, kind = self.onnx.helper, self.onnx.TensorProto.FLOAT
        graph = helper.make_graph(
            nodes,
            "task",
            [helper.make_tensor_value_info(k, kind, v.shape) for k, v in inputs.items()],
            [helper.make_tensor_value_info("y", result, shape)],
            [self.onnx.numpy_helper.from_array(v, k) for k, v in weights.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)
        return self._load(model.SerializeToString())

    def _load(self, model: bytes) -> Any:
        options = self.ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.graph_optimization_level = self.ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        if not self.spinning:
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return self.ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def _ready(
        self, nodes: list[Any], weights: Any, inputs: Any, shape: Any, dtype: Any = np.float32
    ) -> Callable[[], Any]:
        result = self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        session = self._session(nodes, weights, inputs, shape, result)
        if not self.bound:
            return lambda: session.run(None, inputs)[0]
        call = self._bind(session, inputs, {"y": np.empty(shape, dtype)})
        return lambda: call()[0]

    def _bind(self, session: Any, inputs: Any, outputs: Any) -> Callable[[], Any]:
        wrap, binding = self.ort.OrtValue.ortvalue_from_numpy, session.io_binding()
        for name, array in inputs.items():
            binding.bind_ortvalue_input(name, wrap(array))
        answers = [wrap(array) for array in outputs.values()]
        for name, answer in zip(outputs, answers, strict=True):
            binding.bind_ortvalue_output(name, answer)

        def call() -> Any:
            session.run_with_iobinding(binding)
            return answers

        return call

    def model(self, task: OnnxModel, arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
        session = self._load(task.file())
        halves = {one.name for one in session.get_inputs() if one.type == "tensor(float16)"}
        inputs = {k: v.astype(np.float16) if k in halves else v for k, v in arrays.items()}
        if not self.bound:
            return lambda: session.run(None, inputs)
        names = [one.name for one in session.get_outputs()]
        return self._bind(
            session, inputs, dict(zip(names, session.run(names, inputs), strict=True))
        )

    def _activation(self, name: str, x: str, y: str) -> list[Any]:
        node = self.onnx.helper.make_node
        if name == "identity":
            return [node("Identity", [x], [y])]
        if name == "silu":
            return [node("Sigmoid", [x], [y + "s"]), node("Mul", [x, y + "s"], [y])]
        return [node(OPERATORS[name], [x], [y])]

    def network(self, task: Network, arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
        nodes: list[Any] = []
        layers, value = len(task.sizes) - 1, "x"
        for i in range(layers):
            last = i == layers - 1
            gemm = self.onnx.helper.make_node(
                "Gemm", [value, f"w{i}", f"b{i}"], [f"g{i}"], transB=1
            )
            value = "y" if last else f"h{i}"
            name = task.output if last else task.activation
            nodes += [gemm, *self._activation(name, f"g{i}", value)]
        weights = {k: v for k, v in arrays.items() if k != "x"}
        shape = (task.batch, task.sizes[-1])
        return self._ready(nodes, weights, {"x": arrays["x"]}, shape)

    def dense(self, task: Dense, arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
        gemm = self.onnx.helper.make_node("Gemm", ["x", "w", "b"], ["g"], transB=1)
        weights = {k: arrays[k] for k in "wb"}
        nodes = [gemm, *self._activation(task.activation, "g", "y")]
        return self._ready(nodes, weights, {"x": arrays["x"]}, (task.m, task.outputs))

    def matmul(self, task: MatMul, arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
        node = self.onnx.helper.make_node
        product = node("MatMul", ["a", "b"], ["y"])
        if task.by_columns:  # its own arrays are all row by row
            turned = {"transA": 1} if task.by_columns == "a" else {"transB": 1}
            product = node("Gemm", ["a", "b"], ["y"], **turned)
            arrays = {**arrays, task.by_columns: arrays[task.by_columns].T}
        return self._ready([product], {}, arrays, (task.m, task.n))

    def activation(self, task: Activation, arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
        return self._ready(self._activation(task.function, "x", "y"), {}, arrays, (task.size,))

    def rows(self, task: Rows, arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
        node, x = self.onnx.helper.make_node, {"x": arrays["x"]}
        axis = 0 if task.function == "sum columns" else 1
        weights = {name: arrays[name] for name in "wb"}
        shape: tuple[int, ...] = (task.rows, task.cols)
        kind: Any = np.float32
        if task.function == "softmax":
            one, weights = node("Softmax", ["x"], ["y"], axis=1), {}
        elif task.function == "layer_norm":
            one = node("LayerNormalization", ["x", "w", "b"], ["y"], axis=1, epsilon=1e-5)
        elif task.function == "rms_norm":
            one = node("RMSNormalization", ["x", "w"], ["y"], axis=1, epsilon=1e-5)
            del weights["b"]
        elif task.function == "argmax":
            one, weights = node("ArgMax", ["x"], ["y"], axis=1, keepdims=0), {}
            shape, kind = (task.rows,), np.int64
        else:
            weights = {"axes": np.array([axis], np.int64)}
            one = node("ReduceSum", ["x", "axes"], ["y"], keepdims=0)
            shape = (task.rows, task.cols)[1 - axis :][:1]
        return self._ready([one], weights, x, shape, kind)

    def decoder(self, weights: dict[str, Any], heads: int, capacity: int) -> Callable[..., Any]:
        """One layer of attention that writes the keys and values bound to it where they lie.

        weights: the state dict of `encoder.Decoder`. The call takes a token (D,) and the number of
        those before.
        """
        node, value = self.onnx.helper.make_node, self.onnx.helper.make_tensor_value_info
        width = len(weights["out.bias"])
        split, cache = [1, heads, 1, width // heads], [1, heads, capacity, width // heads]
        constants = {
            **{name: value for name, value in weights.items() if "." in name},
            "places": np.arange(capacity),
            "scale": np.float32((width // heads) ** -0.5),
            "none": np.float32(-np.inf),
            "split": np.array(split),
            "row": np.array([1, width]),
        }
        nodes = [
            node("Gemm", ["x", "qkv.weight", "qkv.bias"], ["p"], transB=1),
            node("Split", ["p"], ["p0", "p1", "p2"], axis=1, num_outputs=3),
            *(node("Reshape", [f"p{i}", "split"], [name]) for i, name in enumerate("qkv")),
            node("TensorScatter", ["keys", "k", "length"], ["new keys"]),
            node("TensorScatter", ["values", "v", "length"], ["new values"]),
            node("Transpose", ["new keys"], ["turned"], perm=[0, 1, 3, 2]),
            node("MatMul", ["q", "turned"], ["scores"]),
            node("Mul", ["scores", "scale"], ["scaled"]),
            node("LessOrEqual", ["places", "length"], ["seen"]),
            node("Where", ["seen", "scaled", "none"], ["masked"]),
            node("Softmax", ["masked"], ["weights"]),
            node("MatMul", ["weights", "new values"], ["mixed"]),
            node("Reshape", ["mixed", "row"], ["joined"]),
            node("Gemm", ["joined", "out.weight", "out.bias"], ["y"], transB=1),
        ]
        floats, integers = self.onnx.TensorProto.FLOAT, self.onnx.TensorProto.INT64
        shapes = {"x": [1, width], "keys": cache, "values": cache}
        results = {"y": [1, width], "new keys": cache, "new values": cache}
        graph = self.onnx.helper.make_graph(
            nodes,
            "decoder",
            [*(value(k, floats, s) for k, s in shapes.items()), value("length", integers, [1])],
            [value(k, floats, s) for k, s in results.items()],
            [self.onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
        )
        opsets = [self.onnx.helper.make_opsetid("", 24)]
        model = self.onnx.helper.make_model(graph, opset_imports=opsets, ir_version=11)
        session = self._load(model.SerializeToString())
        wrap, binding = self.ort.OrtValue.ortvalue_from_numpy, session.io_binding()
        held = {name: wrap(np.zeros(shape, np.float32)) for name, shape in shapes.items()}
        held |= {"length": wrap(np.zeros(1, np.int64)), "y": wrap(np.zeros((1, width), np.float32))}
        for name in ("x", "length", "keys", "values"):
            binding.bind_ortvalue_input(name, held[name])
        for name in results:
            binding.bind_ortvalue_output(name, held[name.removeprefix("new ")])

        def call(x: np.ndarray, length: np.ndarray) -> np.ndarray:
            held["x"].update_inplace(x[None])
            held["length"].update_inplace(length[None])
            session.run_with_iobinding(binding)
            y: np.ndarray = held["y"].numpy()[0]
            return y

        return call


class OnnxRuntimeBound(OnnxRuntime):
    """The same with input and output bound once: its fastest call."""

    bound = True


class OnnxRuntimeSleeping(OnnxRuntime):
    """`run()` with threads that do not spin: what a process with other work to do would choose."""

    spinning = False
