# SPDX-License-Identifier: Apache-2.0
"""The work that is measured: shapes, data and the check of the answer.

A task knows no library and no clock. Each family is one file with a frozen dataclass and the list
of its rows; a rival implements a method per family (see `benchmarks/rivals/__init__.py`).
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from . import activation, dense, fit, matmul, model, network, quantized, rows, training
from .work import Work

Arrays = dict[str, np.ndarray]


class Task(Protocol):
    """One row of the result table."""

    @property
    def name(self) -> str:
        """The row's name, unique among all tasks."""

    @property
    def family(self) -> str:
        """The method of a rival that does this work."""

    @property
    def work(self) -> Work:
        """What a call has to do at the least."""

    def data(self) -> Arrays:
        """Inputs and weights, the same at every call."""

    def error(self, arrays: Arrays, answer: Any) -> float:
        """Largest deviation from the float64 answer, in units of what the task tolerates."""


FAMILIES = (network, dense, matmul, activation, rows, training, fit, model, quantized)
ALL: dict[str, Task] = {task.name: task for family in FAMILIES for task in family.TASKS}


def described(source: str, batch: int, shapes: dict[str, list[int]]) -> Task:
    """The task of an ONNX file, from what run.py tells its workers."""
    pairs = tuple((name, tuple(extents)) for name, extents in shapes.items())
    return model.OnnxModel(source, batch, pairs)


# The rows that are measured when nobody names any: each regime once, in a few minutes.
DEFAULT = frozenset(task.name for family in FAMILIES for task in family.DEFAULT)
