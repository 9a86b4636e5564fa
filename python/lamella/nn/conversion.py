# SPDX-License-Identifier: Apache-2.0
"""What is done to all parameters and buffers of a module at once: types, learning, freezing.

The part of `Module` that changes how its arrays are held, not what they mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from lamella.errors import DTypeError, UnsupportedError, message
from lamella.habits import is_device
from lamella.ir.types import DType
from lamella.nn.narrow import overflows, storage
from lamella.nn.parameter import Buffer, Parameter, floating

__all__ = ["Conversion"]

T = TypeVar("T", bound="Conversion")


def _judge(parameter: Parameter, target: DType) -> None:
    """Raises unless a weight may be stored so."""
    values = {"weight": parameter.name or "weight", "dtype": parameter.dtype}
    if parameter.dtype is DType.float64:
        rule = "a weight of float64: what is stored narrow is read as float32"
        raise DTypeError(message("narrow", rule, values, "float32", "Call float() first"))
    if overflows(parameter.array, target):
        rule = f"a weight beyond the range of {target}"
        raise ValueError(message("narrow", rule, values, "at most 65504", 'Take "bfloat16"'))


class Conversion:
    """The methods of `Module` that convert what it holds."""

    # Parameters that forward gives to products alone, as dense layers their weight.
    _factors: ClassVar[tuple[str, ...]] = ()

    if TYPE_CHECKING:

        def parameters(self) -> Iterator[Parameter]:
            """Each parameter once."""

        def buffers(self) -> Iterator[Buffer]:
            """Each buffer once."""

        def modules(self) -> Iterator[Any]:
            """Each module here and below once."""

    def to(self: T, *targets: Any, device: Any = None, dtype: Any = None) -> T:
        """Converts the floating parameters and buffers, in place, to float32 or float64.

        What `narrow` has stored as bfloat16 or float16 is widened again. The device 'cpu' is
        accepted and changes nothing. Raises: DTypeError, UnsupportedError.

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

    def narrow(self: T, dtype: Any = "bfloat16") -> T:
        """Stores the weights of dense layers as bfloat16 or float16, in place: half the memory.

            w' = w (1 + d),  |d| <= 2**-8 for bfloat16, 2**-11 for float16
            |y' - y| <= |d| |x| |w| for a layer, beside the roundings of its sums

        Products still sum in float32, of float32 inputs; biases, norms and embeddings keep their
        type, also those whose array is a dense layer's weight as well. Weights are rounded to the
        nearest number, or else to the even one. They show as float32 (`p.numpy()`), are read as
        float32 by whatever else uses them, and files keep them narrow (safetensors). Optimisers
        refuse them: `float()` takes it back, but for the digits that are lost.

        Parameters: dtype, "bfloat16" or "float16". Returns: the module.
        Raises: DTypeError for another type and for weights of float64; ValueError, before anything
        is changed, for weights that float16 does not reach; UnsupportedError without dense layers.

        >>> from lamella import nn
        >>> net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 4)).narrow("bfloat16")
        >>> net[0].weight.dtype, net[0].bias.dtype, net[0].weight.numpy().dtype
        (bfloat16, float32, dtype('float32'))
        """
        target = storage("narrow", dtype)
        kept: set[int] = set()
        found: dict[int, Parameter] = {}
        for module in self.modules():
            for name, parameter in module._parameters.items():
                if parameter is None:
                    continue
                if name in module._factors:
                    found[id(parameter)] = parameter
                else:
                    kept.add(id(parameter))
        if not found:
            raise UnsupportedError(
                message(
                    "narrow",
                    "no dense layers, whose weights could be stored so",
                    {"module": type(self).__name__},
                    "an nn.Linear here or below",
                )
            )
        chosen = [parameter for number, parameter in found.items() if number not in kept]
        for parameter in chosen:
            _judge(parameter, target)
        for parameter in chosen:
            parameter.cast(target)
        return self

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
