# SPDX-License-Identifier: Apache-2.0
"""softmax and log_softmax: x - max is rounded once, and its error passes through exp unchanged."""

from __future__ import annotations

import numpy as np

from cases.case import Case, normal, scaled, uniform
from cases.reduce import row_chain
from lamella.ops.softmax import Softmax

SHAPES = ((1, 1), (3, 5), (7,), (2, 3, 16), (4, 37), (2, 3000), (900, 70), (0, 5))


def _softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _log_softmax(x: np.ndarray) -> np.ndarray:
    shifted = x - x.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def _distance(x: np.ndarray) -> np.ndarray:
    return x.max(-1, keepdims=True) - x


def _cases() -> list[Case]:
    cases = []
    for shape in SHAPES:
        chain = row_chain(shape[-1])
        for spread, inputs in (("near", normal(shape)), ("far", uniform(-50, 50, shape))):
            # Each exp: the argument's rounding (distance / 2 units of last place) and 1 ulp = 2 u;
            # in the sum the distant terms are small, so 2 more cover them; then one division.
            cases.append(
                Case(
                    f"softmax {shape} {spread}",
                    Softmax(),
                    inputs,
                    scaled(_softmax, _softmax, lambda x, c=chain: c + 8 + _distance(x)),
                )
            )
            cases.append(
                Case(
                    f"log_softmax {shape} {spread}",
                    Softmax(log=True),
                    inputs,
                    scaled(
                        _log_softmax,
                        lambda x: 1 + np.abs(_log_softmax(x)) + _distance(x),
                        lambda x, c=chain: c + 8,
                    ),
                )
            )
    return cases


CASES = _cases()
