# SPDX-License-Identifier: Apache-2.0
"""Model: an ONNX graph as an nn.Module, and `load`, which makes one of a file.

forward runs the plan on symbolic tensors, so that a model is one program per input signature like
every module, can be part of others and can be trained. A model that computes with integers beyond
what programs do runs in stages instead; it then answers calls, and can be nothing but called.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamella.errors import DTypeError, ShapeError, UnsupportedError, message
from lamella.ir.types import Array, TensorType
from lamella.nn.module import Module
from lamella.nn.parameter import Buffer, Parameter, Stored
from lamella.nn.structure import dtype_of
from lamella.onnx import tensors
from lamella.onnx.freed import Free, Snapshot, free_extents
from lamella.onnx.model import ValueInfo, read
from lamella.onnx.plan import Plan, make_plan
from lamella.onnx.refusals import BY_ARGUMENT, BY_PATH
from lamella.onnx.rules import dual
from lamella.onnx.rules.dual import as_element
from lamella.onnx.staged import Stages
from lamella.onnx.walk import NotOneProgram, settled, walk
from lamella.runtime.narrow import Narrow
from lamella.runtime.signature import as_array
from lamella.runtime.tensor import Operand, Tensor
from lamella.runtime.trace import begin, current, current_trace

__all__ = ["Model", "TensorInfo", "load"]

# A name of more parts than this becomes one part: modules nest, and files are not trusted.
_MAX_PARTS = 16
# Parameters and modules cost some 25 us and 1 KB each.
_MAX_PLACES = 12_000
# Names of inputs that mean something else in a call.
_RESERVED = frozenset(("self", "out"))


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """What a file declares of an input or output.

    name; dtype, in which values are computed and come back (half floats: float32), None where the
    file says nothing; shape, None where it is unknown: an int for each fixed extent, a name for one
    that is open, the same name for the same extent, None for an open one without a name.
    """

    name: str
    dtype: np.dtype[Any] | None
    shape: tuple[int | str | None, ...] | None

    def __str__(self) -> str:
        if self.shape is None:
            extents = "of any shape"
        else:
            inner = ", ".join("?" if extent is None else str(extent) for extent in self.shape)
            extents = f"({inner},)" if len(self.shape) == 1 else f"({inner})"
        return f"{self.name}: {self.dtype or 'any type'} {extents}"


class Model(Module):
    """A loaded ONNX graph: `net(x)`, `net(x=..., mask=...)`, `net(**{"input.1": x})`.

    One output comes back as an array, several as a tuple in the graph's order, of the types that
    the file declares; half floats are computed, and come back, as float32. Floating initialisers
    with an axis are parameters under their ONNX names (dots make the tree of modules); statistics
    of normalisations are buffers. Initialisers that are inputs too may be given by name. A net
    with an input called `out` takes that as the input, and writes no result into arrays.

    Made by `load`.
    """

    _plan: Plan
    _stages: Stages
    _names: dict[str, str]
    # The floating types of the parameters as the file has them.
    _native: frozenset[np.dtype[Any]]

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._plan = plan
        self._stages = Stages()
        _check_tree((*plan.learnt, *plan.statistics))
        names: dict[str, str] = {}
        for name in plan.learnt:
            names[name] = _place(self, name, Parameter(plan.constants.pop(name)))
        for name in plan.statistics:
            names[name] = _place(self, name, Buffer(plan.constants.pop(name)))
        # Copies, so that the file is not kept alive by views of it.
        for name, array in plan.constants.items():
            plan.constants[name] = np.array(array)
            plan.constants[name].flags.writeable = False
        self._names = names
        self._native = frozenset(one.memory.dtype for one in (*self.parameters(), *self.buffers()))
        self.train(False)

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
        return tuple(map(_described, self._plan.inputs))

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """Names, types and shapes of the outputs as declared, in the order in which they come."""
        return tuple(map(_described, self._plan.outputs))

    @property
    def optional_inputs(self) -> tuple[TensorInfo, ...]:
        """The inputs that have an initialiser as their default, which a call gives by name only."""
        return tuple(map(_described, self._plan.defaults))

    @property
    def metadata(self) -> dict[str, str]:
        """The file's `metadata_props`: texts by name, to be changed at will; `save` writes them.

        >>> import numpy as np, lamella as lm
        >>> net = lm.onnx.load(lm.onnx.encode(lm.nn.ReLU(), np.zeros((1, 2), np.float32)))
        >>> net.metadata["classes"] = "cat,dog"
        >>> lm.onnx.load(lm.onnx.encode(net, np.zeros((1, 2), np.float32))).metadata
        {'classes': 'cat,dog'}
        """
        return self._plan.metadata

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names of the inputs, in the order of positional arguments."""
        return tuple(info.name for info in self._plan.inputs)

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of the outputs, in the order in which they come back."""
        return tuple(info.name for info in self._plan.outputs)

    def stored(self, name: str) -> Stored:
        """The parameter or buffer of an initialiser, by its ONNX name.

        >>> import numpy as np, lamella as lm
        >>> data = lm.onnx.encode(lm.nn.Linear(2, 3), np.zeros((1, 2), np.float32))
        >>> lm.onnx.load(data).stored("weight").shape
        (3, 2)
        """
        found = self._find(self._names[name])
        assert isinstance(found, Stored)
        return found

    def forward(self, /, *inputs: Any, **named: Any) -> Any:
        """The graph on symbolic tensors."""
        env = self._bind(inputs, named)
        for info in (*self._plan.inputs, *self._plan.defaults):
            given = env.get(info.name)
            if isinstance(given, Operand):
                _judge(info, given.shape, given._type.dtype.numpy)
                if info.elem_type:
                    env[info.name] = as_element(given, tensors.dtype(info.elem_type))
        results = walk(self._plan, env, self.training, self.stored, before=self._as_fixed(env))
        pairs = zip(self._plan.outputs, results, strict=True)
        results = [self._symbol(info, result) for info, result in pairs]
        return results[0] if len(results) == 1 else tuple(results)

    def _as_fixed(self, env: dict[str, Any]) -> list[Snapshot]:
        """What the nodes meet with the extents of the file, where the inputs have freed ones."""
        plan, noted = self._plan, list[Snapshot]()
        if not plan.fixed:
            return noted
        extents = current().builder.extents
        with begin() as trace:
            trace.numbers = dtype_of(self) or trace.numbers
            trace.builder.extents = extents
            twin = dict(env)
            for name, given in env.items():
                if isinstance(given, Tensor):
                    type = TensorType(plan.file_shape(name, given.shape), given.dtype)
                    tensor = Tensor(trace.builder.input(type, name), trace)
                    twin[name] = as_element(tensor, dual.dtype_of(given))
            if any(twin[name].shape != given.shape for name, given in env.items()):
                walk(plan, twin, self.training, self.stored, note=noted)
        return noted

    def _cast_inputs(
        self, inputs: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        env = self._bind(inputs, named)
        for info in (*self._plan.inputs, *self._plan.defaults):
            given, wanted = env.get(info.name), self._dtype(info)
            if isinstance(given, Tensor) and given.dtype.is_floating and wanted is not None:
                if wanted.kind == "f" and given.dtype.numpy != wanted:
                    env[info.name] = given.to(wanted)
        return (), env

    def _dispatch(self, /, *inputs: Any, **named: Any) -> Any:
        plan = self._plan
        if current_trace() is not None:
            return super()._dispatch(*inputs, **named)
        every = (*plan.inputs, *plan.defaults)
        names = {info.name for info in every}
        out = None if "out" in names else named.pop("out", None)
        staged = plan.staged
        # Integers of a width that programs do not have are checked, which a known call is not.
        if any(map(_is_narrow, every)) or not _RESERVED.isdisjoint(named):
            env = self._bind(inputs, named)
            for info in every:
                if info.name in env and _is_narrow(info):
                    array = env[info.name] = _array(info, env[info.name], self._dtype(info))
                    staged = staged or not (info.elem_type or _in_programs(array.dtype))
            inputs, named = tuple(env.pop(name) for name in self.input_names), env
            staged = staged or not _RESERVED.isdisjoint(named)
        if not staged:
            with suppress(NotOneProgram):
                return super()._dispatch(*inputs, **named, out=out)
            plan.staged = True
        return self._run_stages(self._bind(inputs, named), out)

    def _run_stages(self, env: dict[str, Any], out: Any) -> Any:
        plan = self._plan
        arrays = {
            info.name: _array(info, env[info.name], self._dtype(info))
            for info in (*plan.inputs, *plan.defaults)
            if info.name in env
        }
        if any(plan.file_shape(name, x.shape) != x.shape for name, x in arrays.items()):
            raise UnsupportedError(
                message("Model", "a model that runs in stages computes for the extents of its file",
                        {name: x.shape for name, x in arrays.items()},
                        ", ".join(f"{name} of {plan.fixed[name]}" for name in plan.fixed))
            )  # fmt: skip
        arrays.update((copy, arrays[name]) for name, copies in plan.copies.items()
                      if name in arrays for copy in copies)  # fmt: skip
        stored = {name: self.stored(name) for name in self._names if name not in arrays}
        results = [
            _as_declared(result, self._dtype(info))
            for info, result in zip(
                plan.outputs, self._stages.run(plan, arrays, self.training, stored), strict=True
            )
        ]
        if out is not None:
            for target, result in zip(
                out if isinstance(out, tuple) else (out,), results, strict=True
            ):
                np.copyto(target, result)
            return out
        # Never an input or a constant itself.
        kept = [*arrays.values(), *plan.constants.values()]
        results = [np.array(y) if any(np.may_share_memory(y, x) for x in kept) else y
                   for y in results]  # fmt: skip
        return results[0] if len(results) == 1 else tuple(results)

    def _bind(self, inputs: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
        names = self.input_names
        env = dict(zip(names, inputs, strict=False))
        twice = sorted(set(env) & set(named))
        env.update(named)
        unknown = set(env) - {*names, *(info.name for info in self._plan.defaults)}
        if len(inputs) > len(names) or twice or unknown or not set(names) <= set(env):
            raise TypeError(
                message(
                    "Model",
                    "arguments do not fit the inputs",
                    {"positional": len(inputs), "named": sorted(named)},
                    f"one value for each of {list(names)}",
                )
            )
        return env

    def _dtype(self, info: ValueInfo) -> np.dtype[Any] | None:
        """The declared type, or the one to which the whole net was converted (`net.double()`)."""
        declared = tensors.dtype(info.elem_type) if info.elem_type else None
        if declared is None or declared.kind != "f":
            return declared
        have = dtype_of(self)
        return declared if have is None or self._native == {have.numpy} else have.numpy

    def _symbol(self, info: ValueInfo, result: Any) -> Any:
        """An output as what the file declares, in the trace."""
        wanted = self._dtype(info)
        if isinstance(result, np.ndarray):
            result = _as_declared(settled(result, f"output {info.name!r}"), wanted)
            if result.dtype.kind not in "iu":
                return result
            trace = current()
            bits = trace.constant(result.astype(np.int64))
            return as_element(Tensor(bits, trace), result.dtype)
        if wanted is None or not isinstance(result, Tensor):
            return result
        if wanted.kind == "f" and result.dtype.is_floating and result.dtype.numpy != wanted:
            return result.to(wanted)
        if wanted == np.int64 and isinstance(result, Narrow):
            return Tensor(result.value, result._trace)
        return as_element(result, wanted)

    def extra_repr(self) -> str:
        """The signature."""
        return f"{', '.join(self.input_names)} -> {', '.join(self.output_names)}"


def _described(info: ValueInfo) -> TensorInfo:
    dtype = tensors.dtype(info.elem_type) if info.elem_type else None
    return TensorInfo(info.name, dtype, info.shape)


def _judge(info: ValueInfo, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raises unless an input fits its declaration; names of extents stand for anything."""
    declared = info.shape
    if info.elem_type:
        wanted = tensors.dtype(info.elem_type)
        if (wanted.kind == "f") != (dtype.kind == "f") or (wanted.kind == "b") != (
            dtype.kind == "b"
        ):
            raise DTypeError(
                message(
                    "Model",
                    "an input has another kind of elements",
                    {info.name: dtype},
                    tensors.type_name(info.elem_type),
                    "Convert with astype()",
                )
            )
    if declared is not None and (
        len(declared) != len(shape)
        or any(
            isinstance(want, int) and want != have
            for want, have in zip(declared, shape, strict=False)
        )
    ):
        raise ShapeError(
            message(
                "Model",
                "an input has another shape than the model declares",
                {info.name: shape},
                f"({', '.join('?' if extent is None else str(extent) for extent in declared)})",
            )
        )


def _is_narrow(info: ValueInfo) -> bool:
    """Whether an input is declared, or may come, as integers that programs do not have."""
    return not info.elem_type or not _in_programs(tensors.dtype(info.elem_type))


def _in_programs(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "fb" or dtype == np.int64


def _as_declared(array: Array, wanted: np.dtype[Any] | None) -> Array:
    """A result as the declared type, where both are floating or both integers."""
    kinds = ("f", "f") if array.dtype.kind == "f" else ("iu", "iu")
    if wanted is None or array.dtype.kind not in kinds[0] or wanted.kind not in kinds[1]:
        return array
    with np.errstate(over="ignore"):
        return array.astype(wanted, copy=False)


def _array(info: ValueInfo, given: Any, wanted: np.dtype[Any] | None) -> Array:
    """An input as an array of its declared type."""
    array = as_array(given, "Model", info.name)
    if array.dtype.kind not in "fiub":
        raise DTypeError(message("Model", "not numbers", {info.name: array.dtype}))
    if wanted is None:
        return array
    _judge(info, array.shape, array.dtype)
    with np.errstate(over="ignore"):
        found = array.astype(wanted, order="C", copy=False)
    if found.dtype != array.dtype and wanted.kind in "iu" and not np.array_equal(found, array):
        raise DTypeError(
            message("Model", "an input has integers that its type does not hold",
                    {info.name: array.dtype}, str(wanted))
        )  # fmt: skip
    return found


def _check_tree(names: tuple[str, ...]) -> None:
    """Raises where parameters, and modules to hold them, would be more than models have."""
    levels: set[str] = set()
    for name in names:
        if len(levels) + len(names) > _MAX_PLACES:
            raise UnsupportedError(
                message("onnx.load", "more parameters than a model has", {"tensors": len(names)},
                        f"at most {_MAX_PLACES}, with the levels of their names")
            )  # fmt: skip
        parts = name.split(".")
        if len(parts) <= _MAX_PARTS:
            levels.update(".".join(parts[:depth]) for depth in range(1, len(parts)))


def _place(model: Module, name: str, stored: Stored) -> str:
    """Puts storage into the tree under its dotted name; gives the name that it got."""
    parts = name.split(".")
    if len(parts) > _MAX_PARTS or not all(parts):
        parts = [name.replace(".", "_") or "_"]
    owner = model
    for depth, part in enumerate(parts[:-1]):
        child = owner._modules.get(part)
        if child is None:
            if hasattr(owner, part):
                parts = [*parts[:depth], "_".join(parts[depth:])]
                break
            child = _Group()
            owner.add_module(part, child)
        owner = child
    last = parts[-1]
    while hasattr(owner, last):
        last += "_"
    if isinstance(stored, Parameter):
        owner.register_parameter(last, stored)
    else:
        owner.register_buffer(last, stored)
    return ".".join((*parts[:-1], last))


class _Group(Module):
    """A level of the tree of names."""


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
