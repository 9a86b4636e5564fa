# SPDX-License-Identifier: Apache-2.0
"""Kernels against NumPy, watched over time on one machine with pytest-benchmark's own store.

    pytest benchmarks/test_kernels.py --benchmark-group-by=param:task --benchmark-save=before
    pytest benchmarks/test_kernels.py --benchmark-group-by=param:task --benchmark-compare

The same tasks and rivals as run.py, two of them, in one process; `-k relu` takes some, and with
`--benchmark-disable` every case runs once to be judged, as CI does. Claims about rivals come from
run.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from . import rivals, tasks

RIVALS = ("lamella", "numpy")


def offered(rival: str) -> list[str]:
    """Tasks of the families that this rival has: NumPy trains nothing and reads no models."""
    library = rivals.load(rival, 1)
    return [name for name, task in tasks.ALL.items() if hasattr(library, task.family)]


@pytest.mark.parametrize(("rival", "task"), [(r, task) for r in RIVALS for task in offered(r)])
def test_kernel(benchmark: Any, task: str, rival: str) -> None:
    work = tasks.ALL[task]
    arrays = work.data()
    call = getattr(rivals.load(rival, 1), work.family)(work, arrays)
    if call is None:
        pytest.skip("NumPy has no erf")
    # The first answer is judged: that of a training step is the loss, which falls with every step.
    answer = call()
    several = isinstance(answer, list | tuple)
    assert work.error(arrays, answer if several else np.asarray(answer)) <= 1.0
    benchmark(call)
