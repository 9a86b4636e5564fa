# SPDX-License-Identifier: Apache-2.0
"""The SSE control register MXCSR, read and written by two machine instructions of our own.

Neither Python nor ctypes offers it: 0F AE /3 is stmxcsr, 0F AE /2 is ldmxcsr, both on the address
in rdi (System V calling convention, x86-64).
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator
from contextlib import contextmanager

DEFAULT = 0x1F80
FLUSH_TO_ZERO = 0x8000
DENORMALS_ARE_ZERO = 0x0040
ROUND_UP = 0x4000
ROUND_TO_ZERO = 0x6000
# The sticky exception flags: arithmetic sets them, nobody promises to clear them.
FLAGS = 0x3F

_code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
_code.write(b"\x0f\xae\x1f\xc3" + b"\x90" * 12 + b"\x0f\xae\x17\xc3")
_address = ctypes.addressof(ctypes.c_char.from_buffer(_code))
_call = ctypes.CFUNCTYPE(None, ctypes.POINTER(ctypes.c_uint32))
_store, _load = _call(_address), _call(_address + 16)


def get() -> int:
    """MXCSR without its sticky flags."""
    value = ctypes.c_uint32()
    _store(ctypes.byref(value))
    return value.value & ~FLAGS


def put(value: int) -> None:
    _load(ctypes.byref(ctypes.c_uint32(value)))


@contextmanager
def control(bits: int) -> Iterator[None]:
    """Runs the block with these bits set beside the default."""
    before = get()
    put(DEFAULT | bits)
    try:
        yield
    finally:
        put(before)
