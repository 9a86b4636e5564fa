# SPDX-License-Identifier: Apache-2.0
"""torch.set_num_threads is heard in any order of imports, where both use one libgomp.

Wheels of PyTorch that bring a libgomp under a name of its own cannot be heard; the test asks the
process which libraries it has loaded.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

IMPORT_TORCH, SET, IMPORT_US = "import torch", "torch.set_num_threads(1)", "import lamella as lm"

REPORT = """
lm.set_num_threads(2)
with open("/proc/self/maps") as f:
    libraries = {line.split()[-1] for line in f if "libgomp" in line}
print(len(libraries), lm.get_num_threads())
torch.set_num_threads(2)
print(lm.get_num_threads())
"""


@pytest.mark.parametrize(
    "order",
    [
        (IMPORT_TORCH, SET, IMPORT_US),
        (IMPORT_TORCH, IMPORT_US, SET),
        (IMPORT_US, IMPORT_TORCH, SET),
    ],
    ids=["set, then lamella", "lamella, then set", "lamella, torch, set"],
)
def test_the_number_is_heard(order: tuple[str, ...]) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", "\n".join(order) + REPORT],
        env={**os.environ, "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    if answer[0] != "1":
        pytest.skip("this PyTorch has a libgomp of its own")
    assert answer == ["1", "1", "2"]
