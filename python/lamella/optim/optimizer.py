# SPDX-License-Identifier: Apache-2.0
"""The base of all optimisers: groups, state, and how an update becomes part of a program.

State arrays are buffers that programs write in place, made when an update is first placed. The
count of steps and the numbers that follow from it are shared by the parameters of a group that
have made the same number of steps, as all have unless some got no gradient in some step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from lamella import _core
from lamella.errors import DTypeError, ShapeError, UnsupportedError, message
from lamella.habits import unknown
from lamella.ir.graph import Value
from lamella.ir.types import Array, DType, TensorType
from lamella.nn.parameter import Buffer, Parameter
from lamella.ops.optimizer import UpdateScalars
from lamella.optim.group import Group, GroupPlan
from lamella.optim.state import Entry, collect, judge, read
from lamella.runtime.programs import Programs
from lamella.runtime.session import Compiled
from lamella.runtime.signature import Branch, normalize
from lamella.runtime.trace import Trace, begin

__all__ = ["Optimizer"]

_NOTHING = Branch(tuple, None, ())


class Optimizer:
    """Base class: what all optimisers have, by torch's names.

    Parameters: params, parameters, (name, parameter) pairs as `net.named_parameters()` gives them,
    or dictionaries with `params` and options of their own; defaults, the options of groups that do
    not say otherwise.
    Raises: TypeError, ValueError for what torch refuses too.
    Source: torch.optim.Optimizer. There is no `.grad`: gradients are handed to `step`, or computed
    by the program that `place` becomes part of.

    >>> import lamella as lm, numpy as np
    >>> from lamella import nn, optim
    >>> p = nn.Parameter([1.0, 2.0])
    >>> optimizer = optim.SGD([p], lr=0.5)
    >>> optimizer.step([np.array([1.0, -1.0], np.float32)])
    >>> p.data
    array([0.5, 2.5], dtype=float32)
    """

    # Names of all state that some option asks for; whether torch makes it with the optimiser, and
    # whether it saves the count of steps.
    state_names: ClassVar[tuple[str, ...]] = ()
    state_from_start: ClassVar[bool] = False
    saves_step: ClassVar[bool] = True

    param_groups: list[Group]
    defaults: dict[str, Any]
    _compiled: Programs[tuple[Any, Compiled]]
    _structure: tuple[Any, ...]
    _states: tuple[int, ...]
    _generation: int

    def __init__(self, params: Iterable[Any], defaults: Mapping[str, Any]) -> None:
        self.defaults = dict(defaults)
        self.param_groups = []
        self._entries: list[Entry] = []
        self._reset()
        if isinstance(params, Parameter) or not isinstance(params, Iterable):
            raise TypeError(
                message(
                    type(self).__name__,
                    "params is not an iterable",
                    {"params": type(params).__name__},
                    "parameters, (name, parameter) pairs or dictionaries",
                )
            )
        groups: list[Any] = list(params)
        if not groups:
            raise ValueError(message(type(self).__name__, "no parameters to optimise"))
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    @staticmethod
    def judge(options: Mapping[str, Any]) -> None:
        """Raises ValueError for options out of range."""
        raise NotImplementedError

    @staticmethod
    def describe(options: Mapping[str, Any]) -> GroupPlan:
        """What programs are compiled for under these options."""
        raise NotImplementedError

    def initial(self, name: str, group: Group) -> float:
        """The value that state begins with."""
        return 0.0

    @property
    def state(self) -> dict[Parameter, dict[str, Buffer]]:
        """The state by parameter; torch's names."""
        return {entry.parameter: dict(entry.state) for entry in self._entries if entry.state}

    @property
    def state_bytes(self) -> int:
        """Bytes of the state that its options ask for, counts of steps apart.

        >>> from lamella import nn, optim
        >>> optim.Adam(nn.Linear(3, 4).parameters()).state_bytes
        128
        """
        return sum(
            entry.parameter.memory.nbytes * len(entry.group.plan.update.states)
            for entry in self._entries
        )

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """All parameters, group by group: the order of `step`'s gradients."""
        return tuple(entry.parameter for entry in self._entries)

    def add_param_group(self, param_group: Any) -> None:
        """Adds parameters with options of their own.

        Parameters: param_group, a dictionary with `params`; options it lacks are the defaults.
        Raises: TypeError, ValueError; nothing is added then.

        >>> from lamella import nn, optim
        >>> optimizer = optim.SGD([nn.Parameter([1.0])], lr=0.1)
        >>> optimizer.add_param_group({"params": [nn.Parameter([2.0])], "lr": 0.01})
        >>> [group["lr"] for group in optimizer.param_groups]
        [0.1, 0.01]
        """
        name = type(self).__name__
        if not isinstance(param_group, dict) or "params" not in param_group:
            raise TypeError(
                message(
                    name,
                    "not a parameter group",
                    {"param_group": type(param_group).__name__},
                    "a dictionary with 'params'",
                )
            )
        given = param_group["params"]
        if isinstance(given, set | frozenset):
            raise TypeError(message(name, "a set has no order", {"params": "set"}, "a list"))
        items = [given] if isinstance(given, Parameter) else list(given)
        names = [item[0] for item in items if isinstance(item, tuple)]
        parameters = [item[1] if isinstance(item, tuple) else item for item in items]
        for parameter in parameters:
            if not isinstance(parameter, Parameter):
                raise TypeError(
                    message(
                        name,
                        "only parameters can be optimised",
                        {"params": type(parameter).__name__},
                        "nn.Parameter",
                    )
                )
        if names and len(names) != len(items):
            raise ValueError(message(name, "some parameters have names and some have none"))
        if self.param_groups and bool(names) != ("param_names" in self.param_groups[0]):
            raise ValueError(message(name, "some groups have names and some have none"))
        seen = {id(entry.parameter) for entry in self._entries}
        if len(seen.union(map(id, parameters))) != len(seen) + len(parameters):
            raise ValueError(message(name, "a parameter appears more than once"))
        options = {**param_group, "params": parameters}
        if names:
            options["param_names"] = names
        options = {**options, **{k: v for k, v in self.defaults.items() if k not in options}}
        group = Group(options, type(self).judge, type(self).describe)
        self.param_groups.append(group)
        for parameter in parameters:
            if parameter.requires_grad:
                judge(name, parameter)
        added = [Entry(parameter, group) for parameter in parameters]
        self._entries += added
        if self.state_from_start:
            self._prepare(group, added)
        self._restructure()

    def structure(self) -> tuple[Any, ...]:
        """Hashable: equal as long as a compiled update stays right; cheap while nothing changes.

        Numbers such as learning rates are not part of it: programs read them when they run.
        """
        states = _core.states_of(self.followed())
        if states != self._states:
            self._states = states
            self._structure = (
                self._generation,
                *(
                    (group.plan, tuple(id(parameter.memory) for parameter in group["params"]))
                    for group in self.param_groups
                ),
            )
        return self._structure

    def followed(self) -> tuple[_core.Structure, ...]:
        """What has to stay in its state for `structure` to stay the same."""
        groups = [group.structure for group in self.param_groups]
        return (self._changes, *groups, *(one.parameter.structure for one in self._entries))

    def place(
        self,
        trace: Trace,
        parameters: Sequence[Parameter],
        gradients: Sequence[Value | None],
    ) -> None:
        """Makes one step a part of the program that `trace` becomes.

        Parameters: trace, open; parameters, some of this optimiser's; gradients, their gradients,
        of their shapes and dtypes, None where there is none: such a parameter and its state stay.
        The parameters and the state become updates of the trace.
        Raises: ValueError for a foreign parameter; ShapeError, DTypeError.
        """
        known = {id(entry.parameter): entry for entry in self._entries}
        given: dict[int, Value] = {}
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if id(parameter) not in known:
                raise ValueError(
                    message(
                        type(self).__name__,
                        "not a parameter of this optimiser",
                        {"parameter": parameter.name or parameter.shape},
                    )
                )
            if gradient is not None or parameter.requires_grad:
                judge(type(self).__name__, parameter)
            if gradient is not None:
                given[id(parameter)] = gradient
        for group in self.param_groups:
            active = [known[id(p)] for p in group["params"] if id(p) in given]
            if active:
                self._place_group(trace, group, active, given)

    def step(self, gradients: Mapping[str, Any] | Sequence[Any] | None = None) -> None:
        """Changes the parameters by gradients that were computed elsewhere: one native call.

        Parameters: gradients, one array (or None: skipped) for each parameter in the order of
        `parameters`; or a mapping from names, where the optimiser was made of named parameters.
        Floating arrays are cast to their parameter's dtype.
        Raises: ShapeError, DTypeError, ValueError, and TypeError without gradients: parameters keep
        none that it could use. Nothing is changed then.

        >>> import numpy as np
        >>> from lamella import nn, optim
        >>> net = nn.Linear(2, 1)
        >>> optimizer = optim.Adam(net.named_parameters(), lr=0.1)
        >>> before = net.bias.numpy().copy()
        >>> optimizer.step({"bias": np.array([3.0], np.float32)})
        >>> np.round(net.bias.numpy() - before, 6)
        array([-0.1], dtype=float32)
        """
        arrays = self._aligned(gradients)
        pattern = tuple(array is not None for array in arrays)
        present = [array for array in arrays if array is not None]
        if not present:
            return
        key = _core.isa(), pattern
        entry = self._compiled.get(key)
        if entry is None or entry.value[0] != self.structure():
            compiled = self._compile(pattern)
            # Placing an update may have changed the structure.
            entry = self._compiled.put(key, (self.structure(), compiled), compiled.nbytes)
        entry.value[1].run(present)

    def reset(self) -> None:
        """Forgets all state, as if no step had been made; compiled programs stay.

        >>> import numpy as np
        >>> from lamella import nn, optim
        >>> p = nn.Parameter([1.0])
        >>> optimizer = optim.SGD([p], lr=0.5, momentum=0.5)
        >>> optimizer.step([np.ones(1, np.float32)])
        >>> optimizer.reset()
        >>> optimizer.step([np.ones(1, np.float32)])
        >>> p.data
        array([0.], dtype=float32)
        """
        for entry in self._entries:
            for name, buffer in entry.state.items():
                value = self.initial(name, entry.group)
                buffer._write(np.full(buffer.memory.shape, value, buffer.array.dtype))
            if entry.counter is not None:
                entry.counter.data = np.zeros(())

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on: torch's layout, with NumPy arrays (copies).

        Returns: {"state": {index: {name: array}}, "param_groups": [options]}; `params` are indices.

        >>> from lamella import nn, optim
        >>> optim.SGD([nn.Parameter([1.0])], lr=0.1).state_dict()["param_groups"][0]["params"]
        [0]
        """
        return collect(self.param_groups, self._entries, self.saves_step, self.state_from_start)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` gave, here or in torch; arrays are copied and cast.

        Parameters: state_dict, in torch's layout; NumPy arrays or anything NumPy can read.
        Raises: FormatError naming everything that is wrong; nothing is changed then.
        """
        groups, states = read(self, self.param_groups, self._entries, state_dict)
        for group, options in zip(self.param_groups, groups, strict=True):
            group.replace(options)
        counters: dict[tuple[int, float], Buffer] = {}
        for entry, found in zip(self._entries, states, strict=True):
            entry.state, entry.counter = {}, None
            if found is None:
                continue
            step, arrays = found
            for name, array in arrays.items():
                entry.state[name] = _buffer(name, array)
            key = (id(entry.group), step)
            entry.counter = counters.setdefault(key, _buffer("step", np.array(step)))
        self._restructure()

    if not TYPE_CHECKING:

        def __getattr__(self, name):
            raise unknown(type(self).__name__, "optimizer", name)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for number, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {number}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return "\n".join([*lines, ")"])

    def __getstate__(self) -> dict[str, Any]:
        return {
            "defaults": self.defaults,
            "param_groups": self.param_groups,
            "_entries": self._entries,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def _reset(self) -> None:
        self._compiled = Programs(type(self).__name__)
        self._structure = ()
        self._states = ()
        self._changes = _core.Structure()
        self._generation = 0

    def _restructure(self) -> None:
        """Programs compiled before are no longer right."""
        self._compiled.clear()
        self._generation += 1
        self._changes.touch()

    def _place_group(
        self, trace: Trace, group: Group, active: list[Entry], given: Mapping[int, Value]
    ) -> None:
        self._prepare(group, active)
        self._separate(group, active)
        scalars: dict[int, Value] = {}
        for entry in active:
            counter = entry.counter
            if id(counter) not in scalars:
                steps = (
                    trace.constant(np.zeros(())) if counter is None else trace.parameter(counter)
                )
                hyper = trace.parameter(group.hyper)
                stepped, numbers = trace.apply(UpdateScalars(group.plan.rule), steps, hyper)
                if counter is not None:
                    trace.update(counter, stepped)
                scalars[id(counter)] = numbers
            state = [entry.state[name] for name in group.plan.update.states]
            results = trace.apply(
                group.plan.update,
                entry.parameter._value(trace),
                given[id(entry.parameter)],
                *map(trace.parameter, state),
                scalars[id(counter)],
            )
            for source, value in zip((entry.parameter, *state), results, strict=True):
                trace.update(source, value)

    def _prepare(self, group: Group, entries: Sequence[Entry]) -> None:
        """Makes the state that is missing, in the parameters' dtypes."""
        fresh: Buffer | None = None
        for entry in entries:
            array = entry.parameter.memory
            for name in group.plan.update.states:
                if name not in entry.state:
                    value = self.initial(name, group)
                    # Copied once, by the buffer: a net's worth of memory less at the peak.
                    filled = np.broadcast_to(array.dtype.type(value), array.shape)
                    entry.state[name] = _buffer(name, filled)
                entry.state[name].cast(array.dtype)
            if entry.counter is None and group.plan.counts:
                fresh = _buffer("step", np.zeros(())) if fresh is None else fresh
                entry.counter = fresh

    def _separate(self, group: Group, active: Sequence[Entry]) -> None:
        """Gives those that make this step a count of their own where others share theirs."""
        chosen = set(map(id, active))
        replaced: dict[int, Buffer] = {}
        for entry in self._entries:
            if entry.group is group and entry.counter is not None and id(entry) not in chosen:
                replaced.setdefault(
                    id(entry.counter), _buffer("step", np.array(entry.counter.array))
                )
        moved = [e for e in active if e.counter is not None and id(e.counter) in replaced]
        for entry in moved:
            entry.counter = replaced[id(entry.counter)]
        if moved:
            self._restructure()

    def _aligned(self, gradients: Mapping[str, Any] | Sequence[Any] | None) -> list[Array | None]:
        """One array or None for each parameter, ready for a program."""
        label = f"{type(self).__name__}.step"
        if gradients is None or callable(gradients):
            raise TypeError(
                message(
                    label,
                    "parameters keep no gradients",
                    {"gradients": gradients},
                    "their gradients, in the order of the parameters",
                    "`lm.TrainStep(net, loss, optimizer)(x, y)` is forward, backward and step",
                )
            )
        if isinstance(gradients, Mapping):
            names = [name for group in self.param_groups for name in group.get("param_names", ())]
            unknown = [name for name in gradients if name not in names]
            if unknown:
                raise ValueError(
                    message(
                        label,
                        "no parameters of these names",
                        {"gradients": unknown},
                        f"names among {names}" if names else "an optimiser of named parameters",
                    )
                )
            gradients = [gradients.get(name) for name in names]
        if len(gradients) != len(self._entries):
            raise ShapeError(
                message(
                    label,
                    "one gradient for each parameter",
                    {"gradients": len(gradients)},
                    str(len(self._entries)),
                )
            )
        arrays: list[Array | None] = []
        for number, (gradient, entry) in enumerate(zip(gradients, self._entries, strict=True)):
            array = None
            if gradient is not None:
                type_ = DType.of(entry.parameter.memory.dtype)
                array = normalize(gradient, op=label, name=f"gradient {number}", floating=type_)
                if array.dtype != type_.numpy:
                    raise DTypeError(
                        message(
                            label, "a gradient is floating", {f"gradient {number}": array.dtype}
                        )
                    )
                if array.shape != entry.parameter.memory.shape:
                    raise ShapeError(
                        message(
                            label,
                            "gradient and parameter differ",
                            {f"gradient {number}": array.shape},
                            f"{entry.parameter.memory.shape}",
                        )
                    )
            arrays.append(array)
        return arrays

    def _compile(self, pattern: Sequence[bool]) -> Compiled:
        with begin() as trace:
            gradients: list[Value | None] = []
            for number, (entry, given) in enumerate(zip(self._entries, pattern, strict=True)):
                array = entry.parameter.memory
                kind = TensorType(array.shape, DType.of(array.dtype))
                gradients.append(trace.builder.input(kind, f"gradient{number}") if given else None)
            self.place(trace, self.parameters, gradients)
            return Compiled(trace.build(()), _NOTHING)


def _buffer(name: str, array: Array) -> Buffer:
    buffer = Buffer(array)
    buffer.name = name
    return buffer


def refuse(label: str, options: Mapping[str, Any]) -> None:
    """Raises for options that only make sense where gradients or devices are torch's."""
    for name in ("capturable", "differentiable"):
        if options.get(name):
            raise UnsupportedError(message(label, "not known here", {name: True}, "False"))
