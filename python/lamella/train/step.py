# SPDX-License-Identifier: Apache-2.0
"""TrainStep: forward, loss, backward and update of one batch as one program.

The programs are those of `parts.py`. TrainStep holds what they share: the net, the loss, the
optimiser, the sums of calls that wait for an update, and the random state. It decides which program
answers a call.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from lamella import _core
from lamella.errors import message
from lamella.ir.types import Array
from lamella.nn.explain import Explanation, describe
from lamella.nn.module import Module
from lamella.nn.parameter import Buffer
from lamella.optim.group import number
from lamella.optim.optimizer import Optimizer
from lamella.runtime.session import Compiled
from lamella.runtime.tensor import Operand
from lamella.train.arguments import spread
from lamella.train.held import Held
from lamella.train.memory import Memory
from lamella.train.parts import Close, Flush, Gradients, Hold, Idle, Options, Part, Update
from lamella.train.profile import StepProfile, profile

__all__ = ["TrainStep"]


_steps: weakref.WeakSet[TrainStep] = weakref.WeakSet()
_forks = threading.RLock()
_waited: list[TrainStep] = []


class TrainStep:
    """One step of training as one native call: `step(x, y)` returns the loss.

    The program runs the net in its present mode (`net.train()`, `net.eval()`) on the batch, then
    the loss, the gradients of the optimiser's parameters, and the optimiser's update. Parameters
    with requires_grad False, and those that the loss does not depend on, keep value and state.
    Nothing is changed unless all of it succeeded: an error leaves the last finished step's numbers.

        loss = L(net(x), y);   parameters <- optimiser(parameters, dL/dparameters)

    Every loss is a sum divided by its mass: L = sum(w l) / sum(w m), with the losses l of single
    elements, the weights w of their samples, and what each element counts, m: the weight of its
    class, 0 where it is ignored, else 1; with reduction="sum" L = sum(w l). Of a function that does
    not return what a loss of lamella gave, the mass is the number of samples, unless its
    `reduction` is "sum". With `accumulate`, sums and masses of the calls are added up, so that k
    calls make the step of one call on all their samples, whatever the sizes; gradients are clipped
    behind that. Batch norm takes the statistics of each call's batch. A call has made an update,
    which is what schedules count, where `held` is 0.

    A sample of weight 0 adds nothing (batch norm sees it). A call in which no sample has a weight
    changes nothing, not even what optimisers remember; it counts as one of the `accumulate` calls.
    Where no element counts for another reason, the loss is 0, the gradients are 0 and the update is
    made, as in torch.

    Parameters: net, a module; loss, a module or function (output, target) -> a number (shape ());
    optimizer, of `lamella.optim`, over parameters of the net; clip_norm, the largest Euclidean norm
    of all gradients together, > 0; clip_value, the largest magnitude of one element, > 0;
    accumulate, how many calls make one update, >= 1; outputs, whether a call returns the net's
    output too; seed, for dropout, drawn from the process's generator when None; mass, whether a
    call returns the mass too, NaN for a sum. Called with: x, the net's input, a tuple of inputs or
    a dict of named inputs; y, what the loss compares with; sample_weight, shape (N,), weights of
    the samples.
    Returns: the loss, an array of shape () and the net's dtype, or (loss, output), (loss, mass),
    (loss, output, mass). Raises: ShapeError, DTypeError where net, loss and arrays do not fit;
    IndexError for a class that does not exist; RuntimeError when others are updating the same
    parameters.

    >>> import numpy as np, lamella as lm
    >>> from lamella import nn, optim
    >>> net = nn.Linear(2, 1)
    >>> step = lm.TrainStep(net, nn.MSELoss(), optim.SGD(net.parameters(), lr=0.1))
    >>> x, y = np.eye(2, dtype=np.float32), np.ones((2, 1), np.float32)
    >>> losses = [float(step(x, y)) for _ in range(200)]
    >>> losses[-1] < 1e-3
    True
    """

    def __init__(
        self,
        net: Module,
        loss: Callable[..., Any],
        optimizer: Optimizer,
        *,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        accumulate: int = 1,
        outputs: bool = False,
        seed: int | None = None,
        mass: bool = False,
    ) -> None:
        _require("net", net, Module, "a lamella.nn.Module")
        _require("optimizer", optimizer, Optimizer, "an optimiser of lamella.optim")
        if not callable(loss):
            raise TypeError(message("TrainStep", "loss is no function", {"loss": type(loss)}))
        for name, bound in (("clip_norm", clip_norm), ("clip_value", clip_value)):
            if bound is not None and not number("TrainStep", name, bound) > 0:
                raise ValueError(message("TrainStep", "no bound", {name: bound}, f"{name} > 0"))
        self._accumulate = _calls(accumulate)
        self.net = net
        self.loss = loss
        self.optimizer = optimizer
        self.options = Options(clip_norm, clip_value, bool(outputs), bool(mass))
        # The classes that have weights; each must have an output.
        self.classes: tuple[int, ...] = ()
        self._random = Buffer(np.array([_new_key(seed), 0], np.int64))
        self.sums = Held()
        self._parts: dict[tuple[type[Part], bool], Part] = {}
        self._lock = threading.RLock()
        self._compiling: Part | None = None
        self._choose()
        _steps.add(self)

    @property
    def accumulate(self) -> int:
        """How many calls make one update; may be set at any time, also between held calls."""
        return self._accumulate

    @accumulate.setter
    def accumulate(self, count: int) -> None:
        with self._lock:
            self._accumulate = _calls(count)
            self._choose()

    @property
    def held(self) -> int:
        """How many calls wait for an update."""
        return self.sums.calls

    @held.setter
    def held(self, calls: int) -> None:
        self.sums.calls, self.sums.blank = calls, min(self.sums.blank, calls)
        self._choose()

    def _choose(self) -> None:
        """The program that answers plain calls, where each makes an update."""
        plain = self._accumulate == 1 and not self.sums.calls
        self._quick = self._part(Update, False) if plain else None

    def __call__(self, x: Any, y: Any, sample_weight: Any = None) -> Any:
        """One step; see the class."""
        if sample_weight is not None and _none_counts(sample_weight):
            return self._blank(False, *spread(x, y), sample_weight)
        if self._quick is None:
            return self._accumulated(False, *spread(x, y), sample_weight)
        if type(x) is tuple or type(y) is tuple:
            return self._quick(*spread(x, y), sample_weight)
        return self._quick(x, y, sample_weight)

    def rows(self, x: Any, y: Any, index: Array, sample_weight: Any = None) -> Any:
        """A step on the rows `index` of whole data sets, which the program itself gathers.

            step.rows(x, y, index) = step(x[index], y[index])

        Parameters: x, y and sample_weight as in a call, with all samples along their first axes;
        index, int64 of shape (N,), 0 <= index < number of samples.
        Returns: what a call returns. Raises: as a call does; IndexError for an index outside.

        >>> import numpy as np, lamella as lm
        >>> from lamella import nn, optim
        >>> net = nn.Linear(2, 1)
        >>> step = lm.TrainStep(net, nn.MSELoss(), optim.SGD(net.parameters(), lr=0.1))
        >>> x, y = np.eye(2, dtype=np.float32), np.ones((2, 1), np.float32)
        >>> step.rows(x, y, np.array([1, 0, 1])).shape
        ()
        """
        if sample_weight is not None and _none_counts(sample_weight, index):
            return self._blank(True, *spread(x, y), index, sample_weight)
        return self.weighty_rows(x, y, index, sample_weight)

    def weighty_rows(self, x: Any, y: Any, index: Array, sample_weight: Any = None) -> Any:
        """As rows, where some sample is known to have a weight, as in every batch of fit."""
        if self._quick is None:
            return self._accumulated(True, *spread(x, y), index, sample_weight)
        return self._part(Update, True)(*spread(x, y), index, sample_weight)

    def flush(self) -> None:
        """Makes the update of the calls that were held, if there are any.

        After the last batch of an epoch: batches left over are a step too.

        >>> import numpy as np, lamella as lm
        >>> from lamella import nn, optim
        >>> net = nn.Linear(2, 1)
        >>> optimizer = optim.SGD(net.parameters(), lr=0.1)
        >>> step = lm.TrainStep(net, nn.MSELoss(), optimizer, accumulate=4)
        >>> for _ in range(3):
        ...     loss = step(np.eye(2, dtype=np.float32), np.ones((2, 1), np.float32))
        >>> step.held
        3
        >>> step.flush()
        >>> step.held
        0
        """
        with self._lock:
            if self.sums.calls > self.sums.blank:
                self._counted(0, self._part(Flush, False))
            else:
                self.held = 0

    def gradients(
        self, x: Any, y: Any, sample_weight: Any = None
    ) -> tuple[Array, dict[str, Array]]:
        """The loss and the gradient of every parameter of the net that requires one.

        Changes nothing: no parameter, no running statistic. Parameters that the loss does not
        depend on have gradients of zero.

        Parameters: as in a call. Returns: (loss, {name: gradient}). Raises: as a call does.

        >>> import numpy as np, lamella as lm
        >>> from lamella import nn, optim
        >>> net = nn.Linear(2, 1)
        >>> step = lm.TrainStep(net, nn.MSELoss(), optim.SGD(net.parameters(), lr=0.1))
        >>> loss, d = step.gradients(np.eye(2, dtype=np.float32), np.ones((2, 1), np.float32))
        >>> sorted(d), d["weight"].shape
        (['bias', 'weight'], (1, 2))
        """
        result: tuple[Array, dict[str, Array]] = self._part(Gradients, False)(x, y, sample_weight)
        return result

    def memory(self, x: Any, y: Any, sample_weight: Any = None) -> Memory:
        """What a call with such arguments holds in memory; compiles it, runs nothing.

        Parameters: as in a call. Returns: a Memory: bytes of parameters, state, batch and arena,
        and their sum, `peak`. `lamella.summary(net, shape, training=True)` estimates the same
        before. Raises: as a call does, but for the values in the arrays.

        >>> import numpy as np, lamella as lm
        >>> from lamella import nn, optim
        >>> net = nn.Linear(2, 1)
        >>> step = lm.TrainStep(net, nn.MSELoss(), optim.Adam(net.parameters()))
        >>> found = step.memory(np.eye(2, dtype=np.float32), np.ones((2, 1), np.float32))
        >>> found.parameters, found.state, found.batch
        (12, 24, 24)
        """
        compiled, given = self._last().find(*spread(x, y), sample_weight)
        stored = [*self.net.parameters(), *self.net.buffers()]
        return Memory(
            parameters=sum(one.memory.nbytes for one in stored),
            state=self.optimizer.state_bytes + self.sums.nbytes,
            batch=sum(one.nbytes for one in given),
            arena=compiled.program.arena_bytes,
        )

    def __explain__(self, x: Any, y: Any, sample_weight: Any = None) -> Explanation:
        """What `lamella.explain(step, x, y)` answers."""
        part, arguments = self._last(), (*spread(x, y), sample_weight)
        return describe("TrainStep", part.find(*arguments)[0], part.sizes(*arguments))

    def __profile__(self, seconds: float, x: Any, y: Any, sample_weight: Any = None) -> StepProfile:
        """What `lamella.profile(step, x, y)` answers; the step is afterwards as it was before."""
        arguments = *spread(x, y), sample_weight
        part = self._last()
        with self._lock:
            state = self.random_state
            try:
                return profile(*part.exact(*arguments), partial(part, *arguments), seconds)
            finally:
                self.random_state = state

    @property
    def random_state(self) -> tuple[int, int]:
        """(key, calls) of the generator that dropout draws from: set it to repeat or to resume."""
        key, calls = self._random.array
        return int(key), int(calls)

    @random_state.setter
    def random_state(self, state: tuple[int, int]) -> None:
        self._random.data = np.array(state, np.int64)

    def state_dict(self) -> dict[str, Any]:
        """What has to be kept beside net and optimiser for training to go on as it would have.

        The random state, and the sums of calls that wait for an update; copies and pickles of a
        step leave those out.

        >>> import numpy as np, lamella as lm
        >>> from lamella import nn, optim
        >>> net = nn.Linear(2, 1)
        >>> optimizer = optim.SGD(net.parameters(), lr=0.1)
        >>> step = lm.TrainStep(net, nn.MSELoss(), optimizer, accumulate=2)
        >>> loss = step(np.eye(2, dtype=np.float32), np.ones((2, 1), np.float32))
        >>> saved = step.state_dict()
        >>> step.flush()
        >>> step.load_state_dict(saved)
        >>> step.held
        1
        """
        with self._lock:
            state = self.sums.state(self.optimizer.parameters)
            return {"random_state": list(self.random_state), **state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what state_dict gave.

        Raises: KeyError, ValueError, ShapeError, DTypeError for sums of other parameters.
        """
        with self._lock:
            key, calls = state["random_state"]
            self.sums.load(self.optimizer.parameters, state)
            self.random_state = (int(key), int(calls))
            self._choose()

    def find(self, rows: bool, x: Any, y: Any, *rest: Any) -> tuple[Compiled, list[Array]]:
        """The program of a call, compiled if need be, and its arrays; rows: of a call of `rows`."""
        kind = Update if self._quick is not None else Hold
        return self._part(kind, rows).find(*spread(x, y), *rest)

    def _part(self, kind: type[Part], rows: bool) -> Part:
        part = self._parts.get((kind, rows))
        if part is None:
            part = self._parts[kind, rows] = kind(self, rows)
        return part

    def _last(self) -> Part:
        """The program of a call that makes an update."""
        return self._part(Close if self._quick is None else Update, False)

    def _accumulated(self, rows: bool, *arguments: Any) -> Any:
        with self._lock:
            last = self.sums.calls + 1 >= self._accumulate
            part = self._part(Close if last else Hold, rows)
            return self._counted(0 if last else self.sums.calls + 1, part, *arguments)

    def _counted(self, after: int, part: Part, *arguments: Any) -> Any:
        """Calls a program that adds or updates; `after` so many calls are held."""
        version = self.sums.mass.version
        before = int(version[0])
        try:
            return part(*arguments)
        finally:
            # Python raises KeyboardInterrupt when the native call is already over: it counts.
            if int(version[0]) != before:
                self.held = after

    def _blank(self, rows: bool, *arguments: Any) -> Any:
        """A call in which no sample counts."""
        with self._lock:
            random = self.random_state
            try:
                result = self._part(Idle, rows)(*arguments)
            finally:
                self.random_state = random
            if self._quick is None:
                self.sums.calls += 1
                self.sums.blank += 1
                if self.sums.calls >= self._accumulate:
                    self.flush()
            return result

    def structure(self) -> tuple[Any, ...]:
        """What the programs depend on beside net and loss."""
        return self.optimizer.structure(), self.sums.structure(), self.classes

    def followed(self) -> tuple[_core.Structure, ...]:
        """What has to stay in its state for `structure` to stay the same."""
        return (*self.optimizer.followed(), self.sums.changes)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        for name in ("_parts", "_lock", "_compiling", "_quick", "sums"):
            del state[name]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _parts={}, sums=Held(), _compiling=None)
        self._lock = threading.RLock()
        self._choose()
        _steps.add(self)

    def __repr__(self) -> str:
        return f"TrainStep({type(self.net).__name__}, {self.loss!r}, {self.optimizer!r})"


def _before_fork() -> None:
    # A fork waits for calls in other threads, or the child would have their locks and half of what
    # they hold. The locks come before those of running programs, which the core takes later.
    _forks.acquire()
    for step in list(_steps):
        step._lock.acquire()
        _waited.append(step)


def _after_fork() -> None:
    while _waited:
        _waited.pop()._lock.release()
    _forks.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)


def _calls(count: Any) -> int:
    if isinstance(count, bool) or int(count) != count or count < 1:
        raise ValueError(
            message("TrainStep", "no number of calls", {"accumulate": count}, "an int > 0")
        )
    return int(count)


def _none_counts(weight: Any, index: Any = None) -> bool:
    """Whether no sample has a weight."""
    if isinstance(weight, Operand) or isinstance(index, Operand):
        return False  # in a trace: refused there
    if np.ndim(weight) != 1 or index is None:
        return not np.count_nonzero(weight)
    try:
        return not np.count_nonzero(np.asarray(weight)[index])
    except IndexError:
        return False  # refused where the rows are gathered


def _require(name: str, value: Any, kind: type[Any], expected: str) -> None:
    if not isinstance(value, kind):
        raise TypeError(
            message("TrainStep", f"{name} is another kind of object", {name: type(value)}, expected)
        )


def _new_key(seed: int | None) -> int:
    """A generator's key: the seed, or entropy."""
    return int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> np.uint64(1))
