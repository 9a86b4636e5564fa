# SPDX-License-Identifier: Apache-2.0
"""What importing lamella does to the environment, and how soon its idle threads sleep."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")

REPORT = """
import os, lamella
print(os.environ.get("GOMP_SPINCOUNT"), os.environ.get("OMP_WAIT_POLICY"))
"""

# Processor time of a pause after a call of two threads: what its idle worker burns.
IDLE = """
import resource, time
import numpy as np, lamella as lm
lm.set_num_threads(2)
net = lm.nn.Linear(1024, 1024).eval()
x = np.ones((256, 1024), np.float32)
def used():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
def idle():
    net(x)
    before = used()
    time.sleep(0.05)
    return used() - before
print(min(idle() for _ in range(9)))
"""


def run(program: str, **variables: str) -> str:
    environment = {name: v for name, v in os.environ.items() if name not in VARIABLES}
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**environment, "OPENBLAS_NUM_THREADS": "1", **variables},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


def test_environment_is_left_as_it_was() -> None:
    assert run(REPORT) == "None None"


def test_a_choice_of_the_user_stays() -> None:
    assert run(REPORT, GOMP_SPINCOUNT="7") == "7 None"
    assert run(REPORT, OMP_WAIT_POLICY="passive") == "None passive"


@pytest.mark.alone
def test_idle_threads_go_to_sleep() -> None:
    """The worker's patience ends long before the 8 ms that libgomp would give it."""
    assert float(run(IDLE)) < 1e-3
