# SPDX-License-Identifier: Apache-2.0
"""Integers of widths that programs do not have, on their way through one.

Inputs of int16 or uint32 are marked with it, and by doors the tensors that their files declare so:
they serve as positions, and what is computed with them has to convert them first (promotion.py). A
result that is marked is handed back in that type (session.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lamella.runtime.tensor import Tensor

__all__ = ["Narrow"]


class Narrow(Tensor):
    """Integers of a width that programs do not have: int64 in them, handed back as `element`.

    What only moves elements is right in any width. uint64 lies in int64 by its bits.
    """

    __slots__ = ("element",)

    def __init__(self, tensor: Tensor, element: np.dtype[Any]) -> None:
        super().__init__(tensor.value, tensor._trace)
        self.element = element
