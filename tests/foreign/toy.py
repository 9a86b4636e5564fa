# SPDX-License-Identifier: Apache-2.0
"""A door of a few lines, without ONNX: nodes of six operators, and networks of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamella.foreign import words
from lamella.foreign.call import Allowance, Call
from lamella.foreign.network import Imported
from lamella.foreign.plan import Entry, Plan, TensorInfo
from lamella.foreign.rule import Rule

FLOAT, INT, BOOL = np.dtype(np.float32), np.dtype(np.int64), np.dtype(np.bool_)


def _add(call: Call, a: Any, b: Any) -> Any:
    return words.binary(call, "add", a, b)


def _tanh(call: Call, x: Any) -> Any:
    return words.unary("tanh", x)


def _head(call: Call, x: Any, count: Any) -> Any:
    return words.slices(x, (slice(0, int(call.scalar(count))),))


def _rows(call: Call, x: Any) -> Any:
    return np.asarray(x.shape[0])


def _last(call: Call, x: Any) -> Any:
    return words.slices(x, (-1,))


def _kept(call: Call, x: Any, mask: Any) -> Any:
    return call.value(x)[call.value(mask)]


def _faulty(call: Call, x: Any) -> Any:
    raise call.malformed("never right")


RULES = {
    "add": Rule(_add, "n n"),
    "tanh": Rule(_tanh, "f"),
    "head": Rule(_head, "a i!"),
    "rows": Rule(_rows, "a", gives="int64", shapes=True),
    "last": Rule(_last, "a", moves=True),
    "kept": Rule(_kept, "a b", arrays=True),
    "faulty": Rule(_faulty, "a"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Step(Entry):
    """A node of the toy door: nothing but its operator."""

    def call(self, operands: Sequence[Any], allowance: Allowance, training: bool) -> Call:
        return Call(self.op, len(self.outputs), operands, allowance, training)

    def __reduce__(self) -> Any:
        return step, (self.op, self.inputs, self.outputs)


def step(op: str, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Step:
    return Step("", op, inputs, outputs, RULES[op])


def make(*steps: Step, learnt: dict[str, np.ndarray] | None = None, **inputs: Any) -> Imported:
    learnt = learnt or {}
    return Imported(
        Plan(
            "toy",
            steps,
            dict(learnt),
            tuple(learnt),
            (),
            tuple(TensorInfo(name, *declared) for name, declared in inputs.items()),
            (TensorInfo(steps[-1].outputs[0]),),
            1 << 20,
        )
    )
