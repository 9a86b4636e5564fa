# SPDX-License-Identifier: Apache-2.0
"""The trace: the graph under construction while a function runs on symbolic tensors.

Each thread has its own stack of traces, so that a function compiled while another one is traced
does not mix with it. The trace knows the path of the module that runs, for messages.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, cast

import numpy as np

from lamella import _core
from lamella.errors import (
    DTypeError,
    ShapeError,
    UnsupportedError,
    locate,
    message,
)
from lamella.ir.graph import Constant, Graph, GraphBuilder, Parameter, Source, Value
from lamella.ir.types import Array, DType, TensorType
from lamella.ops.base import Op
from lamella.ops.elementwise import Cast

__all__ = ["Symbol", "Trace", "begin", "current", "current_trace", "scope", "user_line"]

# Files whose lines are not the user's: the package, NumPy that calls it, code made while it runs.
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_INNER = (_PACKAGE, os.path.dirname(os.path.abspath(np.__file__)) + os.sep, "<")


class Symbol:
    """Anything that stands for a value of a trace.

    What is said here holds for storage (`array`, `version`, `name`: a parameter or buffer).
    """

    __slots__ = ()

    def _value(self, trace: Trace) -> Value:
        """This symbol as a value of `trace`."""
        return trace.read(cast(Source, self))

    @property
    def _type(self) -> TensorType:
        """Shape and dtype; needs no trace."""
        array = cast(Source, self).memory
        dtype = DType.stored(array.dtype)
        return TensorType(array.shape, DType.float32 if dtype.is_storage else dtype)


def _nothing(_array: Any) -> None:
    """No array is the user's."""


class Trace:
    """A graph under construction and the path of the module that is running.

    storage_of: the storage behind an operand that lies in an array of the user's, else None;
    numbers: the floating dtype of numbers that meet no floating tensor.
    """

    __slots__ = ("_path", "_streams", "builder", "notes", "numbers", "storage_of", "updates")

    def __init__(self, storage_of: Callable[[Any], Source | None] = _nothing) -> None:
        self.storage_of = storage_of
        self.builder = GraphBuilder()
        self.numbers = DType.float32
        self.updates: list[tuple[Source, Value]] = []
        # What a function wants known of its result by those who trace it.
        self.notes: dict[Value, object] = {}
        self._path: list[str] = []
        self._streams = 0

    @property
    def path(self) -> str:
        """The dotted name of the module that is running: `encoder.fc1`."""
        return ".".join(self._path)

    def enter(self, name: str) -> None:
        """A child module named `name` starts to run."""
        self._path.append(name)

    def leave(self) -> None:
        """The innermost running module is done."""
        self._path.pop()

    def apply(self, op: Op, *values: Value) -> tuple[Value, ...]:
        """Places `op`; its errors say which module was running."""
        try:
            return self.builder.apply(op, values, ".".join(self._path))
        except (ShapeError, DTypeError, UnsupportedError) as error:
            locate(error, self.path)
            raise

    def place(self, op: Op, *values: Value) -> Value:
        """Places an op with one output."""
        return self.apply(op, *values)[0]

    def constant(self, array: Array | np.generic, dtype: DType | None = None) -> Constant:
        """A leaf holding a copy of `array`."""
        copied = np.array(array, dtype=None if dtype is None else dtype.numpy, order="C")
        return self.builder.constant(copied)

    def parameter(self, source: Source) -> Parameter:
        """The leaf of a parameter or buffer."""
        return self.builder.parameter(source)

    def read(self, source: Source) -> Value:
        """The same as an operand: of a storage type as float32."""
        return self.computed(self.parameter(source))

    def computed(self, value: Value) -> Value:
        """A value as one that is computed with: of a storage type as float32."""
        return self.place(Cast(DType.float32), value) if value.dtype.is_storage else value

    def update(self, source: Source, value: Value | Symbol) -> None:
        """After each run, `value` becomes the content of `source` (running statistics)."""
        if isinstance(value, Symbol):
            value = value._value(self)
        expected = TensorType(source.memory.shape, DType.stored(source.memory.dtype))
        if value.type != expected:
            raise ShapeError(
                message(
                    "update", "value and storage differ", {source.name: value.type}, f"{expected}"
                )
            )
        self.updates = [(other, old) for other, old in self.updates if other is not source]
        self.updates.append((source, value))

    def stream(self) -> int:
        """A number for the next random draw, different for each draw of this trace."""
        self._streams += 1
        return self._streams - 1

    def build(self, outputs: Sequence[Value]) -> Graph:
        """The finished graph."""
        return self.builder.build(outputs, self.updates)


class _Stack(threading.local):
    def __init__(self) -> None:
        self.traces: list[Trace] = []


_stack = _Stack()


def current_trace() -> Trace | None:
    """The trace of this thread, if it traces."""
    return _stack.traces[-1] if _stack.traces else None


def current() -> Trace:
    """The trace of this thread; UnsupportedError when there is none."""
    if not _stack.traces:
        raise UnsupportedError(
            message(
                "trace",
                "no function is being traced",
                None,
                "parameters and symbolic tensors to be used inside forward() or a traced function",
                "Outside, compute with arrays, and assign: p.data = 0.5 * p.numpy()" + user_line(),
            )
        )
    return _stack.traces[-1]


@contextmanager
def begin(storage_of: Callable[[Any], Source | None] = _nothing) -> Iterator[Trace]:
    """Starts a trace of this thread and ends it with the block."""
    trace, traces = Trace(storage_of), _stack.traces
    traces.append(trace)
    try:
        # From here on no call of this thread is answered by a program that was remembered.
        _core.note_traces(len(traces))
        yield trace
    finally:
        traces.pop()
        _core.note_traces(len(traces))


@contextmanager
def scope(name: str) -> Iterator[None]:
    """Names the module that runs within the block, in the current trace."""
    trace = current()
    trace.enter(name)
    try:
        yield
    finally:
        trace.leave()


def user_line() -> str:
    """` (file.py, line 12)`: the innermost line of a caller outside this package and NumPy."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith(_INNER):
            return f" ({os.path.basename(name)}, line {frame.f_lineno})"
        frame = frame.f_back
    return ""
