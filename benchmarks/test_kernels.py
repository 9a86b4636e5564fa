# SPDX-License-Identifier: Apache-2.0
"""Kernels against NumPy: `pytest benchmarks --benchmark-group-by=param:task`.

The same tasks and rivals as run.py, two of them, in one process: for watching one machine over
time with pytest-benchmark's own store. Claims about rivals come from run.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from . import rivals, tasks


@pytest.mark.parametrize("task", list(tasks.ALL))
@pytest.mark.parametrize("rival", ["lamella", "numpy"])
def test_kernel(benchmark: Any, task: str, rival: str) -> None:
    work = tasks.ALL[task]
    arrays = work.data()
    call = getattr(rivals.load(rival, 1), work.family)(work, arrays)
    if call is None:
        pytest.skip(f"{rival} does not offer this")
    assert work.error(arrays, np.asarray(benchmark(call))) <= 1.0
