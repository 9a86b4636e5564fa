# SPDX-License-Identifier: Apache-2.0
"""What is done to all parameters and buffers of a module at once: types, learning, freezing.

The part of `Module` that changes how its arrays are held, not what they mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from lamella.habits import is_device
from lamella.nn.parameter import Buffer, Parameter, floating

__all__ = ["Conversion"]

T = TypeVar("T", bound="Conversion")


class Conversion:
    """The methods of `Module` that convert what it holds."""

    if TYPE_CHECKING:

        def parameters(self) -> Iterator[Parameter]:
            """Each parameter once."""

        def buffers(self) -> Iterator[Buffer]:
            """Each buffer once."""

    def to(self: T, *targets: Any, device: Any = None, dtype: Any = None) -> T:
        """Converts the floating parameters and buffers, in place, to float32 or float64.

        The device 'cpu' is accepted and changes nothing. Raises: DTypeError, UnsupportedError.

        >>> from lamella import nn
        >>> nn.Linear(2, 3).to("float64").weight.data.dtype
        dtype('float64')
        """
        given = [one for one in (*targets, device, dtype) if one is not None]
        for target in [floating("to", one) for one in given if not is_device("to", one)]:
            for stored in [*self.parameters(), *self.buffers()]:
                stored.cast(target)
        return self

    def cpu(self: T) -> T:
        """The module itself: it is on the CPU."""
        return self

    def float(self: T) -> T:
        """Converts the floating parameters and buffers to float32, in place."""
        return self.to("float32")

    def double(self: T) -> T:
        """Converts the floating parameters and buffers to float64, in place."""
        return self.to("float64")

    def requires_grad_(self: T, requires_grad: bool = True) -> T:
        """Sets whether optimisers may change the parameters here and below."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def freeze(self: T) -> T:
        """Lets the packed forms of weights replace their arrays, so that each lies in memory once.

        A product reads its weight packed into panels. From the next call on, or at once where a
        program has packed them already, parameters and buffers of 64 KB and more that programs read
        in that form alone give up their arrays; all others (biases, embeddings, what a training
        step updates) keep theirs. Nothing else changes: `p.data`, `state_dict()`, pickling, copies
        and ONNX export unpack the same bits, which are given up again when nobody holds the array
        any more; a view that is held keeps its array meanwhile. Another layout of the same weight,
        as for a training step, is made from the unpacked array too. Assigning to a parameter ends
        freezing for it; `unfreeze()` does for all. A copy or an unpickled module is not frozen.
        This is about memory, not about learning: see `requires_grad_`.

        Returns: the module. Source: what torch.jit.freeze does to a copy of the module.

        >>> import numpy as np
        >>> from lamella import nn
        >>> net = nn.Linear(256, 256).eval().freeze()
        >>> net(np.ones((1, 256), np.float32)).shape, net.weight.frozen
        ((1, 256), True)
        """
        for stored in [*self.parameters(), *self.buffers()]:
            stored.freeze()
        return self

    def unfreeze(self: T) -> T:
        """Takes `freeze` back: every array is in memory again, beside its packed form.

        >>> from lamella import nn
        >>> nn.Linear(256, 256).freeze().unfreeze().weight.frozen
        False
        """
        for stored in [*self.parameters(), *self.buffers()]:
            stored.unfreeze()
        return self
