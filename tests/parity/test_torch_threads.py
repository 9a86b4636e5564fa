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


def answer(program: str, **variables: str) -> list[str]:
    """What a fresh interpreter prints; a skip where two libraries have a libgomp each."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LAMELLA_NUM", "MKL_NUM"))}
    told = subprocess.run(
        [sys.executable, "-c", program + REPORT],
        env={**kept, "OMP_NUM_THREADS": "2", **variables},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    if told[0] != "1":
        pytest.skip("this PyTorch has a libgomp of its own")
    return told[1:]


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
    assert answer("\n".join(order)) == ["1", "2"]


def test_a_limit_that_stands_while_lamella_is_imported() -> None:
    program = """
import torch, threadpoolctl
with threadpoolctl.threadpool_limits(1):
    import lamella as lm
    lm.set_num_threads(2)
    inside = lm.get_num_threads()
assert inside == 1, inside
"""
    assert answer(program) == ["2", "2"]
