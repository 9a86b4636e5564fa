# SPDX-License-Identifier: Apache-2.0
"""The guard pages themselves: they fault where they must and hold what they should."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from guard.pages import ENDS, FILL, PAGE, Room

TESTS = Path(__file__).resolve().parents[1]

TOUCH = """
import ctypes, sys
import numpy as np
sys.path.append({tests!r})
from guard.pages import Room
room = Room(4096)
x = room.place(np.arange(7, dtype=np.float32), {end!r})
address = x.ctypes.data + (x.nbytes if {end!r} == "end" else -1)
print("placed", flush=True)
{action}
print("survived", flush=True)
"""


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("action", ["ctypes.string_at(address, 1)", "ctypes.memset(address, 0, 1)"])
def test_one_byte_beyond_the_end_faults(end, action):
    code = TOUCH.format(tests=str(TESTS), end=end, action=action)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "placed\n"
    # -SIGSEGV, or an exit code of the sanitizer that caught it.
    assert result.returncode != 0


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
@pytest.mark.parametrize("count", [0, 1, 7, 33])
def test_array_is_an_ordinary_array(count, dtype, end):
    room = Room(PAGE)
    x = room.place(np.arange(count).astype(dtype), end)
    assert x.flags.c_contiguous
    assert x.flags.writeable
    assert x.flags.aligned
    np.testing.assert_array_equal(x, np.arange(count).astype(dtype))
    room.check()
    room.close()


@pytest.mark.parametrize("end", ENDS)
def test_a_write_inside_the_room_is_noticed(end):
    room = Room(PAGE)
    x = room.place(np.ones(5, np.float32), end)
    x += 1
    room.check()
    room.bytes[PAGE // 2] ^= 1
    with pytest.raises(AssertionError, match="outside the array"):
        room.check()


def test_fill_is_a_signalling_nan():
    for dtype, quiet in ((np.float32, 1 << 22), (np.float64, 1 << 51)):
        size = np.dtype(dtype).itemsize
        fill = np.full(2, FILL[size])
        assert np.isnan(fill.view(dtype)).all()
        assert int(fill.view(np.dtype(f"u{size}"))[0]) & quiet == 0


def test_too_large_an_array_is_refused():
    with pytest.raises(ValueError, match="do not fit"):
        Room(PAGE).place(np.zeros(PAGE + 1, np.uint8), "end")
