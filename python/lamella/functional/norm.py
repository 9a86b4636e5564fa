# SPDX-License-Identifier: Apache-2.0
"""Normalisation: layer, RMS, batch, group, instance and local response.

A row's result does not depend on the rows around it (batch statistics, by their meaning, do).
`out=` is written to and returned.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np

from lamella.errors import ShapeError, message
from lamella.ir.extent import index as whole
from lamella.ops import composites
from lamella.ops.base import require_floating
from lamella.ops.norm import LayerNorm, RmsNorm
from lamella.runtime.function import function
from lamella.runtime.tensor import Operand, Tensor, apply
from lamella.runtime.trace import current

__all__ = [
    "batch_norm",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "local_response_norm",
    "rms_norm",
]


@function
def layer_norm(
    input: Operand,
    normalized_shape: int | tuple[int, ...],
    weight: Operand | None = None,
    bias: Operand | None = None,
    eps: float = 1e-5,
) -> Operand:
    """Brings the last axes to mean 0 and variance 1, then scales and shifts.

    y = (input - mean) / sqrt(var + eps) * weight + bias, var = mean of (input - mean)**2

    Parameters: input, (..., *normalized_shape); normalized_shape, the extents of the last axes;
    weight, bias, of shape normalized_shape; eps > 0. Returns: an array of input's shape.
    Raises: ShapeError, DTypeError.
    Source: Ba et al. 2016, "Layer normalization"; torch.nn.functional.layer_norm.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.layer_norm(np.array([-3.0, 3.0], np.float32), (2,), eps=0.0)
    array([-1.,  1.], dtype=float32)
    """
    axes = _last_axes("layer_norm", input, normalized_shape)
    op = LayerNorm(axes, float(eps), weight is not None, bias is not None)
    return apply(op, *(operand for operand in (input, weight, bias) if operand is not None))


@function
def rms_norm(
    input: Operand,
    normalized_shape: int | tuple[int, ...],
    weight: Operand | None = None,
    eps: float | None = None,
) -> Operand:
    """Brings the last axes to a mean square of 1, then scales.

    y = input / sqrt(mean of input**2 + eps) * weight

    Parameters: input, (..., *normalized_shape); normalized_shape, the extents of the last axes;
    weight, of shape normalized_shape; eps >= 0, None for the distance from 1 to the next number of
    input's type. Returns: an array of input's shape. Raises: ShapeError, DTypeError.
    Source: Zhang and Sennrich 2019, "Root mean square layer normalization";
    torch.nn.functional.rms_norm.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.rms_norm(np.array([-3.0, 3.0], np.float32), (2,), eps=0.0)
    array([-1.,  1.], dtype=float32)
    """
    axes = _last_axes("rms_norm", input, normalized_shape)
    operands = (input,) if weight is None else (input, weight)
    require_floating("rms_norm", ("input", "weight")[: len(operands)], [o._type for o in operands])
    if eps is None:
        eps = float(np.finfo(input._type.dtype.value).eps)
    return apply(RmsNorm(axes, float(eps), weight is not None), *operands)


def _last_axes(name: str, input: Operand, normalized_shape: int | tuple[int, ...]) -> int:
    """How many axes are normalised."""
    extents = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not extents or input.shape[-len(extents) :] != extents:
        raise ShapeError(
            message(
                name,
                "the last axes are others",
                {"input": input.shape, "normalized_shape": extents},
                f"input.shape[{-len(extents)}:] == normalized_shape" if extents else "one or more",
            )
        )
    return len(extents)


def batch_statistics(input: Operand) -> tuple[Operand, Operand]:
    """Mean and population variance of each channel (dimension 1), shaped to broadcast."""
    dims = (0, *range(2, input.ndim))
    mean = input.mean(dims, True)
    return mean, (input - mean).square().mean(dims, True)


@function
def batch_norm(
    input: Operand,
    running_mean: Operand | None,
    running_var: Operand | None,
    weight: Operand | None = None,
    bias: Operand | None = None,
    training: bool = False,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
) -> Operand:
    """Brings each channel to mean 0 and variance 1, then scales and shifts.

    y = (input - mean) / sqrt(var + eps) * weight + bias, channel by channel; mean and var are the
    batch's own (population variance) in training, the running ones otherwise.

    Parameters: input, (N, C, ...); running_mean, running_var, (C,), not needed in training; weight,
    bias, (C,); momentum, accepted and without effect: unlike torch's, this function never writes to
    its arguments, running statistics are kept by nn.BatchNorm1d; eps > 0.
    Returns: an array of input's shape. Raises: ShapeError, DTypeError.
    Source: Ioffe and Szegedy 2015, "Batch normalization"; torch.nn.functional.batch_norm.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> x = np.array([[3.0]], np.float32)
    >>> F.batch_norm(x, np.float32([1]), np.float32([1]), eps=0.0)
    array([[2.]], dtype=float32)
    """
    _judge_channels(
        "batch_norm",
        input,
        {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias},
    )
    if not training:
        return _by_running("batch_norm", input, running_mean, running_var, weight, bias, eps)
    if input.numel() <= input.shape[1]:
        raise ShapeError(
            message(
                "batch_norm",
                "one value a channel has no variance",
                {"input": input.shape},
                "more than one value for each channel when training",
                "A last batch of one sample: drop_last of fit or of a DataLoader leaves it out",
            )
        )
    return _by(input, *batch_statistics(input), weight, bias, eps)


@function
def group_norm(
    input: Operand,
    num_groups: int,
    weight: Operand | None = None,
    bias: Operand | None = None,
    eps: float = 1e-5,
) -> Operand:
    """Brings groups of channels of each sample to mean 0 and variance 1, then scales and shifts.

    y = (input - mean) / sqrt(var + eps) * weight + bias, mean and var over a group and all axes
    behind the channels

    Parameters: input, (N, C, ...); num_groups, a divisor of C; weight, bias, (C,); eps > 0.
    Returns: an array of input's shape. Raises: ShapeError, DTypeError.
    Source: Wu and He 2018, "Group normalization"; torch.nn.functional.group_norm.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.group_norm(np.array([[-1.0, 1.0, 4.0, 8.0]], np.float32), 2, eps=0.0)
    array([[-1.,  1., -1.,  1.]], dtype=float32)
    """
    _judge_channels("group_norm", input, {"weight": weight, "bias": bias})
    channels, groups = input.shape[1], whole(num_groups)
    if groups < 1 or channels % groups:
        raise ShapeError(
            message(
                "group_norm",
                "channels are no multiple of num_groups",
                {"input": input.shape, "num_groups": groups},
                "input.shape[1] % num_groups == 0",
            )
        )
    rows = (input.shape[0], groups, channels // groups * prod(input.shape[2:]))
    y = apply(LayerNorm(1, float(eps), False, False), input.reshape(rows)).reshape(input.shape)
    return _scaled(y, weight, bias)


@function
def instance_norm(
    input: Operand,
    running_mean: Operand | None = None,
    running_var: Operand | None = None,
    weight: Operand | None = None,
    bias: Operand | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Operand:
    """Brings each channel of each sample to mean 0 and variance 1, then scales and shifts.

    y = (input - mean) / sqrt(var + eps) * weight + bias

    With use_input_stats mean and var are those over all axes behind the channels, else running_mean
    and running_var, which are never written to: nn.InstanceNorm1d keeps them.

    Parameters: input, (N, C, ...), with at least one axis more; running_mean, running_var, weight,
    bias, (C,); use_input_stats; momentum, which has no influence on the result; eps > 0.
    Returns: an array of input's shape. Raises: ShapeError, DTypeError.
    Source: Ulyanov et al. 2016, "Instance normalization"; torch.nn.functional.instance_norm.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.instance_norm(np.array([[[-3.0, 3.0]]], np.float32), eps=0.0)
    array([[[-1.,  1.]]], dtype=float32)
    """
    _judge_channels(
        "instance_norm",
        input,
        {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias},
    )
    if not use_input_stats:
        return _by_running("instance_norm", input, running_mean, running_var, weight, bias, eps)
    terms = prod(input.shape[2:])
    if terms < 2 or input.ndim < 3:
        raise ShapeError(
            message(
                "instance_norm",
                "one value a channel has no variance",
                {"input": input.shape},
                "(N, C, ...) with more than one value for each channel of a sample",
            )
        )
    rows = input.reshape((*input.shape[:2], terms))
    y = apply(LayerNorm(1, float(eps), False, False), rows).reshape(input.shape)
    return _scaled(y, weight, bias)


@function
def local_response_norm(
    input: Operand, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Operand:
    """Divides by a power of the mean square of neighbouring channels.

    y[c] = input[c] / (k + alpha / size * sum of input[j]**2)**beta, c - size // 2 <= j <=
    c + (size - 1) // 2

    Parameters: input, (N, C, ...) with at least one axis more; size >= 1, how many channels count;
    alpha, beta, k. Returns: an array of input's shape. Raises: ShapeError, DTypeError.
    Source: Krizhevsky et al. 2012, "ImageNet classification with deep convolutional neural
    networks"; torch.nn.functional.local_response_norm.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.local_response_norm(np.array([[[1.0], [2.0]]], np.float32), 2, alpha=2.0, beta=1.0)
    array([[[0.5       ],
            [0.33333334]]], dtype=float32)
    """
    count = whole(size)
    if input.ndim < 3 or count < 1:
        raise ShapeError(
            message(
                "local_response_norm",
                "no channels to sum over",
                {"input": input.shape, "size": count},
                "input (N, C, ...) with at least one axis more, size >= 1",
            )
        )
    require_floating("local_response_norm", ("input",), (input._type,))
    channels = input.shape[1]
    # Channels beyond either end are zeros, however many.
    front, back = min(count // 2, channels), min((count - 1) // 2, channels)
    sums = _windows(input.square(), front, back)
    y: Operand = input / (sums * (alpha / count) + k) ** beta
    return y


def _windows(x: Operand, front: int, back: int) -> Operand:
    """Sums over axis 1 of windows that reach from `front` before to `back` behind an entry."""
    extent, left = x.shape[1], front + back + 1
    trace = current()
    amounts = (0, 0) * (x.ndim - 2) + (front, back)
    power: Operand = Tensor(composites.pad(trace.place, x._value(trace), amounts), trace)
    total, offset, width = None, 0, 1
    # Windows of 1, 2, 4 ... entries, as the binary digits of the width ask for.
    while True:
        if left & 1:
            piece = power[:, offset : offset + extent]
            total, offset = piece if total is None else total + piece, offset + width
        left >>= 1
        if not left:
            break
        last = power.shape[1] - width
        power, width = power[:, :last] + power[:, width:], 2 * width
    assert total is not None
    return total


def _scaled(y: Operand, weight: Operand | None, bias: Operand | None) -> Operand:
    """y, channel by channel, times weight plus bias."""
    shape = (-1,) + (1,) * (y.ndim - 2)
    if weight is not None:
        y = y * weight.reshape(shape)
    return y if bias is None else y + bias.reshape(shape)


def _by_running(
    name: str,
    input: Operand,
    mean: Operand | None,
    var: Operand | None,
    weight: Operand | None,
    bias: Operand | None,
    eps: float,
) -> Operand:
    if mean is None or var is None:
        raise ShapeError(
            message(
                name,
                "no statistics",
                {
                    "running_mean": None if mean is None else mean.shape,
                    "running_var": None if var is None else var.shape,
                },
                "running_mean and running_var, or those of the input",
            )
        )
    shape = (input.shape[1],) + (1,) * (input.ndim - 2)
    return _by(input, mean.reshape(shape), var.reshape(shape), weight, bias, eps)


def _by(
    input: Operand,
    mean: Operand,
    var: Operand,
    weight: Operand | None,
    bias: Operand | None,
    eps: float,
) -> Operand:
    """Normalised by statistics that are shaped to broadcast."""
    shape = (input.shape[1],) + (1,) * (input.ndim - 2)
    scale = (var + eps).rsqrt()
    if weight is not None:
        scale = scale * weight.reshape(shape)
    y: Operand = (input - mean) * scale
    return y if bias is None else y + bias.reshape(shape)


def _judge_channels(name: str, input: Operand, vectors: Mapping[str, Operand | None]) -> None:
    shapes = {own: one.shape for own, one in vectors.items() if one is not None}
    if input.ndim < 2 or any(shape != (input.shape[1],) for shape in shapes.values()):
        raise ShapeError(
            message(
                name,
                "channels differ",
                {"input": input.shape, **shapes},
                "input (N, C, ...) and (C,) everywhere else",
            )
        )
    require_floating(name, ("input",), (input._type,))
