# SPDX-License-Identifier: Apache-2.0
"""Looking rows up: exact, and any index outside the table is an error."""

from __future__ import annotations

import numpy as np

from cases.case import Arrays, Case, exactly
from lamella.ops.gather import Embedding

# Index shape, rows, columns.
SIZES = (((3,), 4, 5), ((), 2, 3), ((2, 3), 7, 1), ((0,), 4, 5), ((4,), 1, 33), ((3000,), 50, 64))


def _case(shape: tuple[int, ...], rows: int, cols: int) -> Case:
    def inputs(rng: np.random.Generator, dtype: str) -> Arrays:
        return rng.integers(0, rows, shape), rng.normal(size=(rows, cols)).astype(dtype)

    judge = exactly(lambda indices, table: table[indices])
    return Case(f"embedding {shape} of ({rows}, {cols})", Embedding(), inputs, judge)


CASES = [_case(*sizes) for sizes in SIZES]
