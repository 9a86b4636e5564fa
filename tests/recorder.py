# SPDX-License-Identifier: Apache-2.0
"""A Callable that notes what its entries did not answer, and a program for it to remember."""

from __future__ import annotations

from typing import Any

import programs
from lamella import _core


class Recorder(_core.Callable):
    """Notes every call that its entries did not answer."""

    def __init__(self) -> None:
        self.missed: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def _dispatch(self, *args, **kwargs):
        self.missed.append((args, kwargs))
        return "dispatched"


def negation(shape: tuple[int, ...] = (2, 3), dtype: str = "float32") -> _core.Program:
    """y = -x."""
    return programs.unary("neg", dtype, shape)
