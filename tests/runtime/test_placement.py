# SPDX-License-Identifier: Apache-2.0
"""Members of a team compute on processors of their own, and keep the affinity users gave them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(
        len(os.sched_getaffinity(0)) < 2, reason="one processor has no other to move to"
    ),
]

# A program for two members, its caller pinned to the first processor, and where Linux last ran the
# other member.
PRELUDE = f"""
import os, sys, time
sys.path[:0] = [{str(TESTS)!r}]
import numpy as np
import programs
from lamella import _core
before = {{int(one) for one in os.listdir("/proc/self/task")}}
_core.set_num_threads(2)
x = np.linspace(-4, 4, 1 << 20, dtype=np.float32)
work = programs.unary("tanh", "float32", x.shape)
allowed = sorted(os.sched_getaffinity(0))
leader = allowed[0]
work.run([x])
member, = {{int(one) for one in os.listdir("/proc/self/task")}} - before
os.sched_setaffinity(0, {{leader}})

def is_on_leaders():
    with open(f"/proc/self/task/{{member}}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[36]) == leader

def calls_until(condition, most):
    # A team whose member came late is not tried again for some 10 ms, on a busy machine longer.
    for count in range(1, most + 1):
        time.sleep(0.04)
        work.run([x])
        if condition():
            return count
    raise AssertionError(f"not within {{most}} calls")
"""


def run_python(code: str) -> str:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "LAMELLA_NUM"))}
    result = subprocess.run(
        [sys.executable, "-c", PRELUDE + code], capture_output=True, text=True, env=kept, timeout=60
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_a_member_leaves_its_leaders_processor() -> None:
    """Put to sleep on the processor of its leader it is woken there, and moves.

    Left to itself Linux did not move it in 20 calls, on a machine with nothing else to do.
    """
    code = """
for _ in range(5):
    os.sched_setaffinity(member, {leader})
    calls_until(is_on_leaders, 500)
    os.sched_setaffinity(member, set(allowed))
    calls_until(lambda: not is_on_leaders(), 10)
    assert os.sched_getaffinity(member) == set(allowed)
print("moved")
"""
    assert run_python(code) == "moved"


def test_a_users_affinity_is_kept() -> None:
    code = """
os.sched_setaffinity(member, {leader})
calls_until(is_on_leaders, 500)
for _ in range(10):
    calls_until(is_on_leaders, 1)
    assert os.sched_getaffinity(member) == {leader}
assert os.sched_getaffinity(0) == {leader}
print("kept")
"""
    assert run_python(code) == "kept"
