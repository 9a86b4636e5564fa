# SPDX-License-Identifier: Apache-2.0
"""Model: an ONNX graph as an nn.Module, and `load`, which makes one of a file."""

from __future__ import annotations

import os
from typing import Any

from lamella.errors import UnsupportedError, message
from lamella.foreign.network import Imported
from lamella.foreign.plan import TensorInfo
from lamella.foreign.walk import Watch, walk
from lamella.foreign.words import as_element
from lamella.foreign.words import dtype_of as element_of
from lamella.ir.types import TensorType
from lamella.nn.parameter import Stored
from lamella.nn.structure import dtype_of
from lamella.onnx.freed import Following, Free, Noting, free_extents
from lamella.onnx.model import read
from lamella.onnx.plan import make_plan
from lamella.onnx.refusals import BY_ARGUMENT, BY_PATH
from lamella.runtime.tensor import Tensor
from lamella.runtime.trace import begin, current

__all__ = ["Model", "TensorInfo", "load"]


class Model(Imported):
    """A loaded ONNX graph: `net(x)`, `net(x=..., mask=...)`, `net(**{"input.1": x})`.

    One output comes back as an array, several as a tuple in the graph's order, of the types that
    the file declares; half floats are computed, and come back, as float32. Floating initialisers
    with an axis are parameters under their ONNX names (dots make the tree of modules); statistics
    of normalisations are buffers. Initialisers that are inputs too may be given by name. A net
    with an input called `out` takes that as the input, and writes no result into arrays.

    Made by `load`.
    """

    _reader = "onnx.load"

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """Names, types and shapes of the inputs, in the order of positional arguments.

        >>> import numpy as np, lamella as lm
        >>> data = lm.onnx.encode(lm.nn.Linear(2, 3), np.zeros((1, 2), np.float32))
        >>> net = lm.onnx.load(data)
        >>> net.inputs[0].shape, net.inputs[0].dtype
        (('batch', 2), dtype('float32'))
        >>> print(net.outputs[0])
        output: float32 (batch, 3)
        """
        return super().inputs

    @property
    def metadata(self) -> dict[str, str]:
        """The file's `metadata_props`: texts by name, to be changed at will; `save` writes them.

        >>> import numpy as np, lamella as lm
        >>> net = lm.onnx.load(lm.onnx.encode(lm.nn.ReLU(), np.zeros((1, 2), np.float32)))
        >>> net.metadata["classes"] = "cat,dog"
        >>> lm.onnx.load(lm.onnx.encode(net, np.zeros((1, 2), np.float32))).metadata
        {'classes': 'cat,dog'}
        """
        return super().metadata

    def stored(self, name: str) -> Stored:
        """The parameter or buffer of an initialiser, by its ONNX name.

        >>> import numpy as np, lamella as lm
        >>> data = lm.onnx.encode(lm.nn.Linear(2, 3), np.zeros((1, 2), np.float32))
        >>> lm.onnx.load(data).stored("weight").shape
        (3, 2)
        """
        return super().stored(name)

    def _watch(self, env: dict[str, Any]) -> Watch | None:
        """Lets nodes follow freed extents: what they meet with those of the file is noted first."""
        plan, noting = self._plan, Noting()
        if not plan.fixed:
            return None
        extents = current().builder.extents
        with begin() as trace:
            trace.numbers = dtype_of(self) or trace.numbers
            trace.builder.extents = extents
            twin = dict(env)
            for name, given in env.items():
                if isinstance(given, Tensor):
                    type = TensorType(plan.file_shape(name, given.shape), given.dtype)
                    tensor = Tensor(trace.builder.input(type, name), trace)
                    twin[name] = as_element(tensor, element_of(given))
            if any(twin[name].shape != given.shape for name, given in env.items()):
                walk(plan, twin, self.training, self.stored, noting)
        return Following(noting.met) if noting.met else None


def load(
    source: str | os.PathLike[str] | bytes,
    *,
    free: Free | None = None,
    external_data: bool = False,
    max_bytes: int = 4 << 30,
    folding_bytes: int = 32 << 20,
) -> Model:
    """Reads an ONNX model as a network, in inference mode.

    Parameters: source, the path of a file, or its bytes; free, extents that the file fixes and that
    shall be open: the name of the first axis of every input ("batch"), or by input, like torch's
    dynamic_axes, its axes ({"x": [0, 1]}) or their names ({"x": {0: "batch"}}); external_data,
    whether tensors may lie in other files of the model's folder; max_bytes, of the file;
    folding_bytes, what results known without running may take together.
    Returns: a Model. Its operators are those of opsets 6 to 28 that have a rule. Nodes with
    constants that stem from a freed extent follow it, or raise ShapeError, named, at the call.
    Raises: FormatError for a malformed file; UnsupportedError, once, naming everything without a
    rule, and for files beyond the limits; ValueError, ShapeError for `free`; OSError.
    Source: github.com/onnx/onnx, docs/Operators.md.

    >>> import numpy as np, lamella as lm
    >>> net = lm.nn.Sequential(lm.nn.Linear(4, 8), lm.nn.ReLU(), lm.nn.Linear(8, 2))
    >>> loaded = lm.onnx.load(lm.onnx.encode(net, np.zeros((1, 4), np.float32)))
    >>> loaded(np.zeros((1, 4), np.float32)).shape
    (1, 2)
    """
    folder: str | None = None
    cure = BY_ARGUMENT
    if isinstance(source, bytes | bytearray | memoryview):
        data = bytes(source)
        if external_data:
            raise UnsupportedError(
                message("onnx.load", "bytes have no folder", {"external_data": True}, "a path")
            )
        _check_size(len(data), max_bytes)
        cure = BY_PATH
    else:
        path = os.fspath(source)
        _check_size(os.path.getsize(path), max_bytes)
        with open(path, "rb") as file:
            data = file.read(max_bytes + 1)
        _check_size(len(data), max_bytes)
        folder = os.path.dirname(os.path.abspath(path)) if external_data else None
    plan = make_plan(read(data), folder, folding_bytes, cure)
    if free is not None:
        free_extents(plan, free)
    return Model(plan)


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise UnsupportedError(
            message("onnx.load", "the file is larger than allowed", {"bytes": size}, f"{limit}",
                    "Pass max_bytes=")
        )  # fmt: skip
