# SPDX-License-Identifier: Apache-2.0
"""Nothing of ours changes the caller's floating-point environment, and no caller's changes ours."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading

import numpy as np
import pytest

from bits.nets import NETS, WIDTH, digest, values

if platform.machine() not in ("x86_64", "AMD64"):
    pytest.skip("MXCSR belongs to x86-64", allow_module_level=True)

from process.fp_environment import (
    DEFAULT,
    DENORMALS_ARE_ZERO,
    FLUSH_TO_ZERO,
    ROUND_TO_ZERO,
    ROUND_UP,
    control,
    get,
)

FLUSHING = FLUSH_TO_ZERO | DENORMALS_ARE_ZERO
CONTROLS = {"flush": FLUSHING, "up": ROUND_UP, "to zero": ROUND_TO_ZERO}


def test_the_instrument_works():
    tiny = np.array([5e-324])
    assert get() == DEFAULT
    with control(FLUSHING):
        assert get() == DEFAULT | FLUSHING
        assert (tiny * 1.0)[0] == 0
    assert get() == DEFAULT
    assert (tiny * 1.0)[0] != 0


def test_import_leaves_it_alone():
    code = f"""
import sys
sys.path.append({os.path.dirname(os.path.dirname(__file__))!r})
from process.fp_environment import get
before = get()
import lamella, lamella.nn, lamella.functional
assert get() == before == {DEFAULT}
assert 5e-324 * 1.0 != 0
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", CONTROLS)
@pytest.mark.parametrize("net", NETS)
def test_results_do_not_depend_on_the_callers(net, name, isa, threads):
    """Also on worker threads, whichever setting they were started under."""
    small, large = values((7, WIDTH), "float32") * 1e-20, values((6000, WIDTH), "float32")
    function = NETS[net]("float32")
    want = digest(function(small)), digest(function(large))
    with control(CONTROLS[name]):
        got = digest(function(small)), digest(function(large))
        kept = get()
    assert kept == DEFAULT | CONTROLS[name]
    assert got == want
    assert get() == DEFAULT
    assert (digest(function(small)), digest(function(large))) == want


@pytest.mark.parametrize("net", NETS)
def test_a_pool_started_under_flushing(net):
    """A thread that flushes makes the first call, and with it may start the pool's workers."""
    large = values((6000, WIDTH), "float32")
    large[::2] *= 1e-38
    found = []

    def first() -> None:
        with control(FLUSHING):
            found.append(digest(NETS[net]("float32")(large)))

    thread = threading.Thread(target=first)
    thread.start()
    thread.join()
    assert found == [digest(NETS[net]("float32")(large))]


@pytest.mark.parametrize("name", CONTROLS)
def test_errors_leave_it_alone(name):
    table = NETS["looked_up"]("float32")
    with control(CONTROLS[name]):
        with pytest.raises((ValueError, TypeError)):
            table("not an array")
        kept = get()
    assert kept == DEFAULT | CONTROLS[name]
