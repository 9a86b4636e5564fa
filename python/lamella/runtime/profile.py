# SPDX-License-Identifier: Apache-2.0
"""profile: where the time of a call goes, node by node of the compiled program.

The steps run as they do in a call, with a look at the clock between them; the least of many runs
counts, step by step, because on a shared machine everything else only adds to a time. A row is a
node of the optimised graph with the steps it became. Parameters and running statistics that the
program updates are put back afterwards; generators of random numbers have moved on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, repeat
from typing import Any

from lamella import _core
from lamella.errors import message
from lamella.ir.graph import Constant, Folded, Graph, Node, Parameter, Result, Value
from lamella.ir.types import Array
from lamella.ops.base import Op
from lamella.ops.gather import Gather
from lamella.ops.shape import Slice
from lamella.runtime.session import Compiled, Session

__all__ = ["Profile", "Row", "measure", "profile", "weights_read"]

# At least and at most so many runs, however long or short they are.
_FEWEST, _MOST = 5, 20_000
# Leaves that belong to the program.
_WEIGHTS = (Parameter, Constant, Folded)
# Shares of the time that is asked for: steps, whole calls.
_STEPS, _CALLS = 0.7, 0.3
# A stretch of calls between two looks at the clock lasts at least this long: see
# benchmarks/measure.py.
_STRETCH = 100e-6


@dataclass(frozen=True)
class Row:
    """One node of the optimised graph, or a copy that was left at the end.

    op, the node as the graph shows it; path, of the module that placed it, of an ONNX model's node,
    and `fc1 + act` where several became one; shapes, of its outputs;
    kinds, ways and times, of its steps: a way says how a step computes, where it has a choice, and
    times are in seconds; flops, floating-point operations of a product, 0 for
    all else; read, bytes of weights and constants; streamed, bytes of other operands and results,
    of which written are those of the results.
    """

    op: str
    path: str
    shapes: tuple[tuple[int, ...], ...]
    kinds: tuple[str, ...]
    ways: tuple[str, ...]
    times: tuple[float, ...]
    flops: float
    read: float
    streamed: float
    written: float

    @property
    def seconds(self) -> float:
        """The time of all its steps."""
        return sum(self.times)

    @property
    def label(self) -> str:
        """The op and its path, as tables show them: the ends of a long one."""
        places = self.path.split(" + ")
        if len(places) > 3:
            places[1:-1] = [f"{len(places) - 2} more"]
        return f"{self.op}  # {' + '.join(places)}" if self.path else self.op

    @property
    def work(self) -> tuple[float, float, float]:
        """Floating-point operations, bytes read, bytes streamed."""
        return self.flops, self.read, self.streamed


@dataclass(frozen=True)
class Profile:
    """The rows of a program in the order in which they run; print it for a table.

    call, seconds of a whole call from Python; flops, read, streamed and written, of the whole
    program: its products, its weights, its inputs and outputs, its outputs; threads, how many may
    share its work; arena_bytes, its scratch memory.
    """

    rows: list[Row]
    call: float
    flops: float
    read: float
    streamed: float
    written: float
    threads: int
    arena_bytes: int

    @property
    def seconds(self) -> float:
        """The time of all steps, each at its best."""
        return sum(row.seconds for row in self.rows)

    @property
    def work(self) -> tuple[float, float, float]:
        """Floating-point operations, bytes read, bytes streamed."""
        return self.flops, self.read, self.streamed

    def __str__(self) -> str:
        whole = max(self.seconds, 1e-12)
        lines = []
        for row in self.rows:
            ways = "; ".join(way for way in row.ways if way)
            share = f"{row.seconds * 1e6:10.3f} us {100 * row.seconds / whole:5.1f} %"
            lines.append(f"{share}  {row.label}" + (f"  [{ways}]" if ways else ""))
        lines.append(f"{self.seconds * 1e6:10.3f} us         all steps")
        lines.append(f"{self.call * 1e6:10.3f} us         a call, {self.threads} thread(s)")
        return "\n".join(lines)

    __repr__ = __str__


def profile(
    target: Callable[..., Any], *examples: Any, seconds: float = 0.5, **named: Any
) -> Profile:
    """The time of every step of a call, and of the whole call.

        time of a step = least of many runs of (clock behind it - clock before it) - cost of a look

    Parameters: target, a module, a function on tensors or a TrainStep; examples and named, the
    arguments of a call, arrays in any nesting; seconds, how long to measure, > 0.
    Returns: a Profile: print it, or read its rows; of a TrainStep a `lamella.train.StepProfile`.
    Raises: what compiling the target for these arguments raises (`lamella.compile`); ValueError
    for seconds <= 0.

    >>> import numpy as np, lamella as lm
    >>> net = lm.nn.Sequential(lm.nn.Linear(64, 32), lm.nn.ReLU(), lm.nn.Linear(32, 8)).eval()
    >>> profile = lm.profile(net, np.zeros((16, 64), np.float32), seconds=0.01)
    >>> [(row.op, row.flops) for row in profile.rows]
    [('dense(w.mT, bias, relu)', 65536.0), ('dense(w.mT, bias)', 8192.0)]
    >>> 0 < profile.rows[0].seconds < profile.call
    True
    """
    if not seconds > 0:
        raise ValueError(message("profile", "no time to measure in", {"seconds": seconds}, "> 0"))
    own = getattr(target, "__profile__", None)
    if own is not None:
        found: Profile = own(seconds, *examples, **named)
        return found
    session = Session(target, examples, named)
    inputs = session.inputs(examples, named)
    call: Callable[..., Any] = target if isinstance(target, _core.Callable) else session
    return measure(session.compiled, inputs, partial(call, *examples, **named), seconds)


def measure(
    compiled: Compiled, inputs: Sequence[Array], call: Callable[[], Any], seconds: float
) -> Profile:
    """The profile of a program, run on these inputs, and of a whole call of it."""
    kept = [(source, source.array.copy()) for source, _ in compiled.graph.updates]
    try:
        whole = _time(call, seconds * _CALLS)
        rounds = min(_MOST, max(_FEWEST, int(seconds * _STEPS / max(whole, 1e-9))))
        times = [ns * 1e-9 for ns in compiled.program.profile(inputs, rounds)]
    finally:
        for source, array in kept:
            assert source.version is not None
            _core.assign(source.memory, source.version, array)
    return _report(compiled, times, whole)


def _time(call: Callable[[], Any], seconds: float) -> float:
    """Seconds per call: the best stretch of those that fit."""
    clock, count, best = time.perf_counter, 1, float("inf")
    call()  # may compile
    end = clock() + seconds
    done = 0
    while done < _FEWEST or clock() < end:
        start = clock()
        for _ in repeat(None, count):
            call()
        spent = clock() - start
        if spent < _STRETCH and count < _MOST:
            count *= 2
            continue
        best = min(best, spent / count)
        done += 1
    return best


def _report(compiled: Compiled, times: Sequence[float], whole: float) -> Profile:
    program, graph = compiled.program, compiled.graph
    steps = zip(compiled.origins, program.steps, program.ways, times, strict=True)
    rows = []
    for node, group in groupby(steps, lambda step: step[0]):
        part = list(group)
        kinds, ways = tuple(one[1] for one in part), tuple(one[2] for one in part)
        spent = tuple(one[3] for one in part)
        if node is None:
            rows += [
                Row("copy", "", (), (kind,), ("",), (one,), 0.0, 0.0, 0.0, 0.0)
                for kind, one in zip(kinds, spent, strict=True)
            ]
        else:
            shapes = tuple(value.shape for value in node.outputs)
            rows.append(Row(str(node.op), node.path, shapes, kinds, ways, spent, *_work(node)))
    ends = (*graph.inputs, *graph.outputs)
    return Profile(
        rows,
        whole,
        sum(row.flops for row in rows),
        weights_read(graph),
        float(sum(value.type.nbytes for value in ends)),
        float(sum(value.type.nbytes for value in graph.outputs)),
        program.team,
        program.arena_bytes,
    )


def weights_read(graph: Graph) -> float:
    """Bytes of weights and constants that a call goes through: of a table what it takes."""
    read: dict[Value, int] = {}
    for node in graph.nodes:
        for value in node.inputs:
            leaf = _leaf(value)
            if isinstance(leaf, _WEIGHTS):
                read[leaf] = min(leaf.type.nbytes, read.get(leaf, 0) + _moved(node, value))
    return float(sum(read.values()))


def _work(node: Node) -> tuple[float, float, float, float]:
    """Operations of a product, bytes of constants, of all else it touches, and of its results."""
    op: Op = node.op
    flops = 2.0 * op.work([v.type for v in node.inputs], [v.type for v in node.outputs])
    read = streamed = 0
    written = sum(value.type.nbytes for value in node.outputs)
    for value in dict.fromkeys(node.inputs):
        moved = _moved(node, value)
        if isinstance(_leaf(value), _WEIGHTS):
            read += moved
        else:
            streamed += moved
    return flops, float(read), float(streamed + written), float(written)


def _moved(node: Node, value: Value) -> int:
    """Bytes of an operand that the node reads: of a table or an array it cuts, what it takes."""
    partial = isinstance(node.op, Gather | Slice) and value is node.inputs[0]
    return sum(one.type.nbytes for one in node.outputs) if partial else value.type.nbytes


def _leaf(value: Value) -> Value:
    while isinstance(value, Result) and value.node.op.view:
        value = value.node.inputs[0]
    return value
