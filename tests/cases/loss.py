# SPDX-License-Identifier: Apache-2.0
"""Cross-entropy against class indices: losses, slopes and weights, each judged by itself.

All terms of a loss are positive, so that its error is relative to their sum; a slope is a
probability times the row's weight, less what the target and the smoothing take from it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cases.case import Arrays, Case, rounded, scaled
from cases.reduce import row_chain
from lamella.ops.loss import ClampedLog, CrossEntropy

SHAPES = ((1, 1), (3, 5), (4, 16), (7, 37), (2, 3000), (900, 70), (0, 5))
IGNORED = -100


def _log_softmax(x: np.ndarray) -> np.ndarray:
    shifted = x - x.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def _one_hot(x: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Zeros for a row that does not count."""
    return (target[:, None] == np.arange(x.shape[1])).astype(x.dtype)


def _shares(smoothing: float, x: np.ndarray, target: np.ndarray, *weight: np.ndarray) -> np.ndarray:
    """What each logarithm of a probability counts in its row's loss."""
    hot = _one_hot(x, target)
    soft = hot * (1 - smoothing) + smoothing / x.shape[1] * hot.sum(1, keepdims=True)
    return soft * weight[0] if weight else soft


def _inputs(
    shape: tuple[int, int], spread: float, weighted: bool
) -> Callable[[np.random.Generator, str], Arrays]:
    def inputs(rng: np.random.Generator, dtype: str) -> Arrays:
        x = (rng.normal(size=shape) * spread).astype(dtype)
        target = rng.integers(0, shape[1], shape[0])
        target[2::5] = IGNORED
        weight = rng.uniform(0.25, 2, shape[1]).astype(dtype)
        return (x, target, weight) if weighted else (x, target)

    return inputs


def _cases(shape: tuple[int, int], spread: float, weighted: bool, smoothing: float) -> list[Case]:
    op = CrossEntropy(IGNORED, smoothing)
    chain = row_chain(shape[1])
    inputs = _inputs(shape, spread, weighted)
    name = f"{shape} spread={spread:g} weighted={weighted} smoothing={smoothing:g}"

    def losses(*arrays: np.ndarray) -> np.ndarray:
        return -(_shares(smoothing, *arrays) * _log_softmax(arrays[0])).sum(1)

    def losses_scale(*arrays: np.ndarray) -> np.ndarray:
        # 1 for the error of log(sum), which is relative to the sum.
        return (_shares(smoothing, *arrays) * (1 - _log_softmax(arrays[0]))).sum(1)

    def slopes(*arrays: np.ndarray) -> np.ndarray:
        shares = _shares(smoothing, *arrays)
        return np.exp(_log_softmax(arrays[0])) * shares.sum(1, keepdims=True) - shares

    def slopes_scale(*arrays: np.ndarray) -> np.ndarray:
        # As for softmax: an exponential's argument is rounded by its distance from the largest.
        x, shares = arrays[0], _shares(smoothing, *arrays)
        distance = x.max(1, keepdims=True) - x
        moved = np.exp(_log_softmax(x)) * (1 + distance / chain)
        return moved * shares.sum(1, keepdims=True) + shares

    def own(x: np.ndarray, target: np.ndarray, *weight: np.ndarray) -> np.ndarray:
        return (_one_hot(x, target) * (weight[0] if weight else 1)).sum(1)

    # A smoothed loss adds a row of distances; its own roundings and the logarithm's are the rest.
    units = (2 if smoothing else 1) * chain + 12
    return [
        Case(f"losses {name}", op, inputs, scaled(losses, losses_scale, lambda *_: units)),
        Case(
            f"slopes {name}",
            op,
            inputs,
            scaled(slopes, slopes_scale, lambda *_: 2 * chain + 12),
            output=1,
        ),
        Case(f"weights {name}", op, inputs, scaled(own, own, lambda *_: 0), output=2),
    ]


def _likelihood(shape: tuple[int, int], weighted: bool) -> list[Case]:
    """Log-probabilities are looked up: one product."""
    op = CrossEntropy(IGNORED, log_probabilities=True)
    inputs = _inputs(shape, 3.0, weighted)

    def losses(x: np.ndarray, *rest: np.ndarray) -> np.ndarray:
        return -(_shares(0.0, x, *rest) * x).sum(1)

    def slopes(*arrays: np.ndarray) -> np.ndarray:
        return -_shares(0.0, *arrays)

    def judged(oracle: Callable[..., np.ndarray], units: int) -> Callable[..., None]:
        return scaled(oracle, lambda *a: np.abs(oracle(*a)), lambda *_: units)

    name = f"of log-probabilities {shape} weighted={weighted}"
    return [
        Case(f"losses {name}", op, inputs, judged(losses, 1)),
        Case(f"slopes {name}", op, inputs, judged(slopes, 0), output=1),
    ]


def _logarithm(complement: bool) -> Case:
    def inputs(rng: np.random.Generator, dtype: str) -> Arrays:
        x = rng.uniform(0, 1, 300)
        x[:4] = 0, 1, 1e-30, 1 - 2.0**-20
        return (x.astype(dtype),)

    def oracle(x: np.ndarray) -> np.ndarray:
        return np.maximum(np.log1p(-x) if complement else np.log(x), -100)

    return Case(
        f"clamped_log complement={complement}", ClampedLog(complement), inputs, rounded(oracle, 1.0)
    )


CASES = [
    case
    for shape in SHAPES
    for spread in (1.0, 30.0)
    for weighted in (False, True)
    for smoothing in (0.0, 0.25)
    for case in _cases(shape, spread, weighted, smoothing)
]
CASES += [c for shape in SHAPES for weighted in (False, True) for c in _likelihood(shape, weighted)]
CASES += [_logarithm(False), _logarithm(True)]
