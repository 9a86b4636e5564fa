# SPDX-License-Identifier: Apache-2.0
"""Arrays in memory whose neighbours must not be touched.

A Room is a run of readable pages between two pages without any access rights. place() puts an
array flush against one of these: one byte read or written beyond that end is a fault. The rest of
the readable pages is filled with a signalling NaN, so that a read beyond the other end that stays
inside the room shows in the values, and a write there shows in check().
"""

from __future__ import annotations

import ctypes
import mmap

import numpy as np

PAGE = mmap.PAGESIZE
# Signalling NaNs: all exponent bits set, the quiet bit clear. Other item sizes take the first.
FILL = {4: np.uint64(0x7FA5A5A57FA5A5A5), 8: np.uint64(0x7FF4A5A5A5A5A5A5)}
ENDS = ("start", "end")

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]

_NO_ACCESS, _READ_WRITE = 0, 3
_PRIVATE_ANONYMOUS = 0x22


class Room:
    """Readable pages between two guard pages; holds one array at a time."""

    def __init__(self, capacity: int = PAGE) -> None:
        self.size = max(1, -(-capacity // PAGE)) * PAGE
        self._base = _libc.mmap(None, self.size + 2 * PAGE, _READ_WRITE, _PRIVATE_ANONYMOUS, -1, 0)
        if self._base in (None, ctypes.c_void_p(-1).value):
            raise OSError(ctypes.get_errno(), "mmap")
        for guard in (self._base, self._base + PAGE + self.size):
            if _libc.mprotect(guard, PAGE, _NO_ACCESS) != 0:
                raise OSError(ctypes.get_errno(), "mprotect")
        memory = (ctypes.c_uint8 * self.size).from_address(self._base + PAGE)
        self.bytes = np.frombuffer(memory, np.uint8)
        self._words = self.bytes.view(np.uint64)
        self._fill = FILL[4]
        self._owned = slice(0, 0)

    def place(self, array: np.ndarray, end: str, shift: int = 0) -> np.ndarray:
        """A copy of the array that touches the guard page at `end` ("start" or "end").

        shift moves it that many bytes away from the guard page.
        """
        array = np.ascontiguousarray(array).reshape(array.shape)
        if array.nbytes + shift > self.size:
            raise ValueError(f"{array.nbytes} bytes do not fit a room of {self.size}")
        begin = shift if end == "start" else self.size - array.nbytes - shift
        self._owned = slice(begin, begin + array.nbytes)
        self._fill = FILL.get(array.itemsize, FILL[4])
        self._words[:] = self._fill
        placed = self.bytes[self._owned].view(array.dtype).reshape(array.shape)
        placed[...] = array
        return placed

    def check(self) -> None:
        """Raises when a byte of the room outside the array was written."""
        expected = np.full(self.size // 8, self._fill).view(np.uint8)
        changed = self.bytes != expected
        changed[self._owned] = False
        if changed.any():
            at = int(np.flatnonzero(changed)[0])
            raise AssertionError(
                f"a byte outside the array was written: {at} of the room, "
                f"the array owns {self._owned.start}..{self._owned.stop}"
            )

    def close(self) -> None:
        if self._base is not None:
            del self.bytes, self._words
            _libc.munmap(self._base, self.size + 2 * PAGE)
            self._base = None


class Rooms:
    """Rooms that are used again for every call: the k-th array of a call goes to the k-th room."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._rooms: list[Room] = []

    def place(self, arrays: list[np.ndarray], end: str) -> list[np.ndarray]:
        while len(self._rooms) < len(arrays):
            self._rooms.append(Room(self._capacity))
        return [room.place(array, end) for room, array in zip(self._rooms, arrays, strict=False)]

    def check(self) -> None:
        for room in self._rooms:
            room.check()
