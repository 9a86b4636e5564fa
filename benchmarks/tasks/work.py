# SPDX-License-Identifier: Apache-2.0
"""What a call has to do at the least, whoever does it: the measure for the limits of a machine."""

from __future__ import annotations

from typing import NamedTuple


class Work(NamedTuple):
    """Operations, and the bytes that cannot but move.

    operations: floating-point, a multiply-add counts as two; byte_operations: those of products of
    bytes, which have a peak of their own. read, written: distinct bytes of
    inputs and weights, and of results that lie elsewhere. updated: bytes that are read and then
    written in place, counted once. span: distinct bytes, where a call goes through them many times.
    What a better program might keep in registers or caches (values between two layers, gradients)
    is no part of it.
    """

    operations: float
    read: float = 0.0
    written: float = 0.0
    updated: float = 0.0
    span: float = 0.0
    byte_operations: float = 0.0

    @property
    def reach(self) -> float:
        """The distinct bytes that one call goes through, and the next one again."""
        return self.span or self.read + self.written + self.updated

    def traffic(self) -> dict[str, float]:
        """Bytes by kind of limit; each kind takes its time even if all others took none.

        A write elsewhere fetches its line first, so that a copy is slower than its reads: the part
        that is as much read as written is one.
        """
        return {
            "read": self.read,
            "write": self.written,
            "copy": 2.0 * min(self.read, self.written),
            "update": 2.0 * self.updated,
        }
