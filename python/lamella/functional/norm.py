# SPDX-License-Identifier: Apache-2.0
"""Normalisation: layer, RMS and batch.

A row's result does not depend on the rows around it (batch statistics, by their meaning, do).
`out=` is written to and returned.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lamella.errors import ShapeError, message
from lamella.ops.base import require_floating
from lamella.ops.norm import LayerNorm, RmsNorm
from lamella.runtime.function import function
from lamella.runtime.tensor import Operand, apply

__all__ = ["batch_norm", "layer_norm", "rms_norm"]


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
        input,
        {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias},
    )
    require_floating("batch_norm", ("input",), (input._type,))
    shape = (input.shape[1],) + (1,) * (input.ndim - 2)
    if training:
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
        mean, var = batch_statistics(input)
    elif running_mean is not None and running_var is not None:
        mean, var = running_mean.reshape(shape), running_var.reshape(shape)
    else:
        raise ShapeError(
            message(
                "batch_norm",
                "no statistics",
                {"training": training, "running_mean": None, "running_var": None},
                "running_mean and running_var, or training=True",
            )
        )
    scale = (var + eps).rsqrt()
    if weight is not None:
        scale = scale * weight.reshape(shape)
    y: Operand = (input - mean) * scale
    return y if bias is None else y + bias.reshape(shape)


def _judge_channels(input: Operand, vectors: Mapping[str, Operand | None]) -> None:
    shapes = {name: one.shape for name, one in vectors.items() if one is not None}
    if input.ndim < 2 or any(shape != (input.shape[1],) for shape in shapes.values()):
        raise ShapeError(
            message(
                "batch_norm",
                "channels differ",
                {"input": input.shape, **shapes},
                "input (N, C, ...) and (C,) everywhere else",
            )
        )
