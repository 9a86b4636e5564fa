# SPDX-License-Identifier: Apache-2.0
"""What a step of training holds in memory, from its compiled program.

The estimate before anything is compiled is `lamella.summary(..., training=True)`; this is what the
plan of memory came to.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Memory"]


@dataclass(frozen=True)
class Memory:
    """Bytes of a step: what stays between calls, and what one call needs on top.

    parameters, of the net, buffers included; state, of the optimiser, with sums of held gradients;
    batch, of the arrays that a call is given; arena, of the program: activations, gradients and
    scratch, laid out so that what is not needed at the same time shares memory.
    """

    parameters: int
    state: int
    batch: int
    arena: int

    @property
    def peak(self) -> int:
        """All of it: what one thread's call holds. Packed weights of frozen layers come on top."""
        return self.parameters + self.state + self.batch + self.arena
