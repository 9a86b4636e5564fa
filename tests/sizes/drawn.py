# SPDX-License-Identifier: Apache-2.0
"""What tests of many sizes share: sizes in random order, arrays of any shape, outcomes of calls.

An outcome is all that a call leaves behind: its results and the buffers of its net, or the error.
LAMELLA_SIZES says how many sizes a test takes; the whole is 300.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

COUNT = int(os.environ.get("LAMELLA_SIZES", "16"))

# Sizes that broadcasting treats apart, and those around widths of registers, tiles and blocks.
CORNERS = (0, 1, 2, 3, 15, 16, 17, 33)


def sizes(high: int, seed: int = 0, count: int = COUNT) -> list[int]:
    """So many different sizes up to `high` in random order, the corners among them, some twice."""
    high = max(high, count)
    rng = np.random.default_rng([80, high, seed])
    corners = [size for size in CORNERS if size <= high]
    more = rng.permutation(np.setdiff1d(np.arange(high + 1), corners))
    chosen = rng.permutation([*corners, *more[: max(0, count - len(corners))]])
    return [int(size) for size in (*chosen, *rng.permutation(chosen)[:5])]


def pairs(high: int, seed: int = 0, count: int = COUNT) -> list[tuple[int, int]]:
    """Pairs of such sizes, independent of each other."""
    return list(zip(sizes(high, seed, count), sizes(high, seed + 1, count), strict=True))


def draw(*shape: int, dtype: str = "float32", seed: int = 81) -> np.ndarray:
    """Normal numbers, the same for every call with this shape."""
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(dtype)


def picked(below: int, *shape: int, seed: int = 82) -> np.ndarray:
    """Integers in [0, below), the same for every call with this shape."""
    return np.random.default_rng([seed, *shape]).integers(0, below, shape)


def flat(result: Any) -> list[np.ndarray]:
    """The arrays of a result, copied: what a function returned may be used again."""
    if isinstance(result, tuple | list):
        return [array for item in result for array in flat(item)]
    if isinstance(result, dict):
        return [array for key in sorted(result) for array in flat(result[key])]
    return [np.array(result)]


Outcome = tuple[Any, ...]


def bits(arrays: Iterable[np.ndarray]) -> Outcome:
    """Shapes, dtypes and bytes."""
    return tuple((array.shape, str(array.dtype), array.tobytes()) for array in arrays)


def outcome(call: Callable[..., Any], *arguments: Any, net: Any = None) -> Outcome:
    """What the call gives and what the net's buffers hold behind it, or which error it raises."""
    state = [] if net is None else net.state_dict
    try:
        result = flat(call(*arguments))
    except (ValueError, TypeError, IndexError, AssertionError, NotImplementedError) as error:
        return (type(error), str(error), bits(flat(state() if net is not None else [])))
    return bits([*result, *flat(state() if net is not None else [])])


def compare(net: Any, inputs: Sequence[tuple[Any, ...]]) -> None:
    """Calls the net on one input after the other: each gives what it gives as the first one.

    A copy of the net, made behind the calls before, has no program yet.
    """
    for arguments in inputs:
        fresh = copy.deepcopy(net)
        want = outcome(fresh, *arguments, net=fresh)
        got = outcome(net, *arguments, net=net)
        assert got == want, [getattr(one, "shape", one) for one in arguments]
