# SPDX-License-Identifier: Apache-2.0
"""Imported: a door's plan as an nn.Module.

forward runs the plan on symbolic tensors, so that a model is one program per input signature like
every module, can be part of others and can be trained. A model that computes with integers beyond
what programs do runs in stages instead; it then answers calls, and can be nothing but called.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lamella.errors import DTypeError, ShapeError, UnsupportedError, message
from lamella.foreign.engine import Engine
from lamella.foreign.plan import Plan, TensorInfo
from lamella.foreign.stages import Met, Stages, explained, handed_out
from lamella.foreign.tree import check_tree, place
from lamella.foreign.walk import Watch, settled, walk
from lamella.foreign.words import as_element
from lamella.ir.types import Array
from lamella.nn.explain import Explanation, of_module
from lamella.nn.module import Module
from lamella.nn.parameter import Buffer, Parameter, Stored
from lamella.nn.structure import dtype_of
from lamella.runtime.narrow import Narrow
from lamella.runtime.signature import as_array
from lamella.runtime.tensor import Operand, Tensor
from lamella.runtime.trace import current_trace

__all__ = ["Imported"]

# Names of inputs that mean something else in a call.
_RESERVED = frozenset(("self", "out"))


class Imported(Module):
    """A plan as a network; the base of what doors load, made by a door.

    One output comes back as an array, several as a tuple in the plan's order, of the types that the
    file declares; half floats are computed, and come back, as float32. What the plan says is learnt
    is a parameter under its name in the file (dots make the tree of modules), what it says are
    statistics are buffers.
    """

    _plan: Plan
    _stages: Stages
    _names: dict[str, str]
    # What reads the files, as messages call it.
    _reader = "load"
    # The floating types of the parameters as the file has them.
    _native: frozenset[np.dtype[Any]]

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._plan = plan
        self._stages = Stages()
        check_tree(self._reader, (*plan.learnt, *plan.statistics))
        names: dict[str, str] = {}
        for name in plan.learnt:
            names[name] = place(self, name, Parameter(plan.constants.pop(name)))
        for name in plan.statistics:
            names[name] = place(self, name, Buffer(plan.constants.pop(name)))
        # Copies, so that the file is not kept alive by views of it.
        for name, array in plan.constants.items():
            plan.constants[name] = np.array(array)
            plan.constants[name].flags.writeable = False
        self._names = names
        self._native = frozenset(one.memory.dtype for one in (*self.parameters(), *self.buffers()))
        self.train(False)

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """Names, types and shapes of the inputs, in the order of positional arguments."""
        return self._plan.inputs

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """Names, types and shapes of the outputs as declared, in the order in which they come."""
        return self._plan.outputs

    @property
    def optional_inputs(self) -> tuple[TensorInfo, ...]:
        """The inputs that have an initialiser as their default, which a call gives by name only."""
        return self._plan.defaults

    @property
    def metadata(self) -> dict[str, str]:
        """Texts by name that the file carries, to be changed at will."""
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
        """The parameter or buffer of an initialiser, by its name in the file."""
        found = self._find(self._names[name])
        assert isinstance(found, Stored)
        return found

    def forward(self, /, *inputs: Any, **named: Any) -> Any:
        """The graph on symbolic tensors."""
        env = self._bind(inputs, named)
        engine = self._engine(env)
        if not engine.is_program:
            raise UnsupportedError(
                message(type(self).__name__,
                        "this model runs in stages, not as one program inside another", None, "",
                        engine.why)
            )  # fmt: skip
        for info in (*self._plan.inputs, *self._plan.defaults):
            given = env.get(info.name)
            if isinstance(given, Operand):
                _judge(info, given.shape, given._type.dtype.numpy)
                if info.dtype is not None:
                    env[info.name] = as_element(given, info.dtype)
        results = walk(self._plan, env, self.training, self.stored, self._watch(env))
        pairs = zip(self._plan.outputs, results, strict=True)
        results = [self._symbol(info, result) for info, result in pairs]
        return results[0] if len(results) == 1 else tuple(results)

    def _watch(self, env: dict[str, Any]) -> Watch | None:
        """What a door puts beside the walk of a trace."""
        return None

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
        # Integers of a width that programs do not have are checked, which a known call is not.
        if any(map(_is_narrow, every)) or not _RESERVED.isdisjoint(named):
            env = self._bind(inputs, named)
            for info in every:
                if info.name in env and _is_narrow(info):
                    env[info.name] = _array(info, env[info.name], self._dtype(info))
            inputs, named = tuple(env.pop(name) for name in self.input_names), env
        engine = self._engine(self._bind(inputs, named))
        if engine.is_program and _RESERVED.isdisjoint(named):
            given = {name: _bits(array) for name, array in named.items()}
            return super()._dispatch(*map(_bits, inputs), **given, out=out)
        return self._run_stages(engine, self._bind(inputs, named), out)

    def _engine(self, env: dict[str, Any]) -> Engine:
        """How the plan runs, by the element types of what is given."""
        infos = (*self._plan.inputs, *self._plan.defaults)
        return self._stages.engine(
            self._plan,
            {
                info.name: _element(env[info.name]) if info.dtype is None else self._dtype(info)
                for info in infos
                if info.name in env
            },
        )

    def _run_stages(
        self, engine: Engine, env: dict[str, Any], out: Any, met: list[Met] | None = None
    ) -> Any:
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
        found = self._stages.run(plan, engine, arrays, self.training, stored, dtype_of(self), met)
        results = [
            _as_declared(result, self._dtype(info))
            for info, result in zip(plan.outputs, found, strict=True)
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

    def _dtype(self, info: TensorInfo) -> np.dtype[Any] | None:
        """The declared type, or the one to which the whole net was converted (`net.double()`)."""
        declared = info.dtype
        if declared is None or declared.kind != "f":
            return declared
        have = dtype_of(self)
        return declared if have is None or self._native == {have.numpy} else have.numpy

    def _symbol(self, info: TensorInfo, result: Any) -> Any:
        """An output as what the file declares, in the trace."""
        wanted = self._dtype(info)
        if isinstance(result, np.ndarray):
            return handed_out(_as_declared(settled(result, f"output {info.name!r}"), wanted))
        if wanted is None or not isinstance(result, Tensor):
            return result
        if wanted.kind == "f" and result.dtype.is_floating and result.dtype.numpy != wanted:
            return result.to(wanted)
        if wanted == np.int64 and isinstance(result, Narrow):
            return Tensor(result.value, result._trace)
        return as_element(result, wanted)

    def __explain__(self, *inputs: Any, **named: Any) -> Explanation:
        """What `lamella.explain` says of it: of a model in stages, what the stages are."""
        env = self._bind(inputs, named)
        engine = self._engine(env)
        if engine.is_program:
            return of_module(self, *inputs, **named)
        met: list[Met] = []
        self._run_stages(engine, env, None, met)
        return explained(type(self).__name__, self._plan, engine, met)

    def extra_repr(self) -> str:
        """The signature."""
        return f"{', '.join(self.input_names)} -> {', '.join(self.output_names)}"


def _element(given: Any) -> np.dtype[Any]:
    """The element type of an argument whose type nobody declares."""
    if isinstance(given, Operand):
        return given.element if isinstance(given, Narrow) else given._type.dtype.numpy
    return np.asarray(given).dtype


def _judge(info: TensorInfo, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raises unless an input fits its declaration; names of extents stand for anything."""
    declared = info.shape
    wanted = info.dtype
    if wanted is not None:
        if (wanted.kind == "f") != (dtype.kind == "f") or (wanted.kind == "b") != (
            dtype.kind == "b"
        ):
            raise DTypeError(
                message(
                    "Model",
                    "an input has another kind of elements",
                    {info.name: dtype},
                    str(wanted),
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


def _is_narrow(info: TensorInfo) -> bool:
    """Whether an input is declared, or may come, as integers that programs do not have."""
    return info.dtype is None or (info.dtype.kind in "iu" and info.dtype != np.int64)


def _bits(array: Any) -> Any:
    """uint64 by its bits, as Narrow has it; all else as it is."""
    is_wide = isinstance(array, np.ndarray) and array.dtype == np.uint64
    return array.view(np.int64) if is_wide else array


def _as_declared(array: Array, wanted: np.dtype[Any] | None) -> Array:
    """A result as the declared type, where both are floating or both integers."""
    kinds = ("f", "f") if array.dtype.kind == "f" else ("iu", "iu")
    if wanted is None or array.dtype.kind not in kinds[0] or wanted.kind not in kinds[1]:
        return array
    with np.errstate(over="ignore"):
        return array.astype(wanted, copy=False)


def _array(info: TensorInfo, given: Any, wanted: np.dtype[Any] | None) -> Array:
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
