# SPDX-License-Identifier: Apache-2.0
"""No kernel reads or writes one byte outside its arrays: every family between guard pages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lamella import _core

SWEEP = Path(__file__).with_name("sweep.py")


@pytest.mark.skipif("avx512_vnni" not in _core.isas(), reason="a processor without VNNI")
def test_products_of_bytes_without_vnni():
    sweep("avx512", "bytes")


def test_kernels_stay_inside_their_arrays(isa):
    sweep(isa)


def sweep(isa, *families):
    result = subprocess.run(
        [sys.executable, "-X", "faulthandler", str(SWEEP), isa, *families],
        capture_output=True,
        text=True,
    )
    last = result.stdout.splitlines()[-1] if result.stdout else "nothing"
    if result.returncode < 0:
        pytest.fail(f"signal {-result.returncode} while running: {last} ({isa})")
    if result.returncode > 0:
        pytest.fail(f"{last} ({isa}):\n{result.stderr[-2000:]}")
    assert last.startswith("done: ")
