# SPDX-License-Identifier: Apache-2.0
"""ONNX models, from a file or from a network of `network.py` that `lamella.onnx` wrote.

A task made of a path is the work of `lamella bench model.onnx`. The arrays are the model's inputs;
what is right comes from the references of lamella's ops in float64, or, for a model that computes
with integers while it runs, from its own answer: other libraries are then compared with that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from lamella import nn
from lamella.errors import ShapeError, UnsupportedError, message
from lamella.ir.graph import Constant, Graph, Input, Parameter, Value
from lamella.onnx.network import Model, load
from lamella.onnx.writer import encode
from lamella.runtime.profile import weights_read
from lamella.runtime.session import trace

from . import network
from .work import Work

# Rounding differs between libraries, and a file may be deep: this only tells the same work from
# other work. Units of the largest element of an output.
TOLERANCE = 1e-4


MODULES: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
}


def sequential(
    sizes: Sequence[int], names: Sequence[str], arrays: Mapping[str, np.ndarray]
) -> nn.Module:
    """lamella's network of such layers and activations, with the weights among the arrays."""
    layers: list[nn.Module] = []
    for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        linear = nn.Linear(fan_in, fan_out)
        linear.weight.data = arrays[f"w{i}"]
        assert linear.bias is not None
        linear.bias.data = arrays[f"b{i}"]
        layers.append(linear)
        if names[i] != "identity":
            layers.append(MODULES[names[i]]())
    return nn.Sequential(*layers).eval()


def examples(
    model: Model, shapes: Mapping[str, Sequence[int]], batch: int = 1
) -> dict[str, np.ndarray]:
    """Inputs of the declared types: normal numbers, and integers 0 and 1, the same at every call.

    shapes: of inputs by name; an extent that the file leaves open needs one, except along the first
    axis, where it is `batch`. Raises ShapeError.
    """
    rng, made = np.random.default_rng(6), {}
    if unknown := sorted(set(shapes) - set(model.input_names)):
        raise ShapeError(
            message("shape", "the model has no such input", {"name": unknown[0]},
                    f"a name among {list(model.input_names)}")
        )  # fmt: skip
    for info in model.inputs:
        declared = info.shape
        shape: Sequence[int | str | None] | None = shapes.get(info.name, declared)
        if shape is not None and shape and not isinstance(shape[0], int):
            first = shape[0]
            shape = [batch if i == 0 or one == first else one for i, one in enumerate(shape)]
        if shape is None or not all(isinstance(one, int) and one >= 0 for one in shape):
            raise ShapeError(
                message("shape", "the file leaves the shape of an input open",
                        {info.name: "unknown" if declared is None else declared},
                        f"--shape {info.name}=N,N,...")
            )  # fmt: skip
        dtype = info.dtype or np.dtype(np.float32)
        extents = tuple(one for one in shape if isinstance(one, int))
        if dtype.kind == "f":
            made[info.name] = rng.standard_normal(extents).astype(dtype)
        else:
            made[info.name] = rng.integers(0, 2, extents).astype(dtype)
    return made


def parse_shapes(words: Sequence[str]) -> list[tuple[str, tuple[int, ...]]]:
    """`name=1,3,224` or `1,3,224` (then the name is ''); ShapeError for anything else."""
    found = []
    for word in words:
        name, _, text = word.rpartition("=")
        try:
            found.append((name, tuple(int(extent) for extent in text.split(",") if extent)))
        except ValueError:
            raise ShapeError(
                message("shape", "not a shape", {"shape": word}, "NAME=N,N,... or N,N,...")
            ) from None
    return found


def work_of(model: Model, arrays: Mapping[str, np.ndarray]) -> Work:
    """Operations of the products, bytes of weights, inputs and outputs.

    Of a model that runs in stages only the inputs' bytes are known.
    """
    given = list(arrays.values())
    try:
        graph, _ = trace(model, given)
        found = model.summary(*given)
    except UnsupportedError:
        return Work(0.0, float(sum(array.nbytes for array in given)))
    read = found.input_bytes + weights_read(graph)
    return Work(2.0 * found.total_macs, read, float(found.output_bytes))


def reference(model: Model, arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The outputs in float64."""
    try:
        graph, _ = trace(model, list(arrays.values()))
    except UnsupportedError:
        answer = model(**arrays)
        return list(answer) if isinstance(answer, tuple) else [answer]
    return _references(graph, list(arrays.values()))


def _references(graph: Graph, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    known: dict[Value, np.ndarray] = dict(zip(graph.inputs, inputs, strict=True))

    def array(value: Value) -> np.ndarray:
        if isinstance(value, Parameter):
            return value.source.array
        return value.array if isinstance(value, Constant) else known[value]

    assert all(isinstance(value, Input) for value in graph.inputs)
    for node in graph.nodes:
        operands = [np.asarray(array(value)) for value in node.inputs]
        operands = [x.astype(np.float64) if x.dtype.kind == "f" else x for x in operands]
        known.update(zip(node.outputs, node.op.reference(operands), strict=True))
    return [array(value) for value in graph.outputs]


@dataclass(frozen=True)
class OnnxModel:
    """A file's model, or a network's, with inputs for one batch.

    source: a path, or the name of a row of `network.py`; shapes: (name, extents) pairs.
    """

    source: str
    batch: int = 1
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    family: str = "model"

    @property
    def name(self) -> str:
        if self.source in ROWS:
            return f"onnx {self.source}"
        return f"{Path(self.source).name}, batch {self.batch}"

    def file(self) -> bytes:
        """The model as bytes of a file."""
        task = ROWS.get(self.source)
        if task is None:
            return Path(self.source).read_bytes()
        arrays = task.data()
        hidden = [task.activation] * (len(task.sizes) - 2)
        return encode(sequential(task.sizes, [*hidden, task.output], arrays), arrays["x"])

    def model(self) -> Model:
        """The model as lamella reads it."""
        return load(self.file())

    @property
    def work(self) -> Work:
        if self.source in ROWS:
            return ROWS[self.source].work
        model = self.model()
        return work_of(model, examples(model, dict(self.shapes), self.batch))

    def data(self) -> dict[str, np.ndarray]:
        if self.source in ROWS:
            (name,) = self.model().input_names
            return {name: ROWS[self.source].data()["x"]}
        return examples(self.model(), dict(self.shapes), self.batch)

    def error(self, arrays: dict[str, np.ndarray], answer: Any) -> float:
        expected = reference(self.model(), arrays)
        answers = list(answer) if isinstance(answer, tuple | list) else [answer]
        if len(answers) != len(expected):
            return float("inf")
        # NumPy's maximum keeps NaN.
        return float(np.max([0.0, *map(_distance, expected, answers)]))


def _distance(expected: np.ndarray, answer: Any) -> float:
    found = np.asarray(answer)
    if found.shape != expected.shape:
        return float("inf")
    if not found.size:
        return 0.0
    exact = expected.astype(np.float64)
    scale = TOLERANCE * max(1.0, float(np.max(np.abs(exact))))
    return float(np.max(np.abs(found.astype(np.float64) - exact)) / scale)


ROWS = {task.name: task for task in network.TASKS}
TASKS = [OnnxModel(name, task.batch) for name, task in ROWS.items()]
DEFAULT = [OnnxModel(task.name, task.batch) for task in network.DEFAULT]
