# SPDX-License-Identifier: Apache-2.0
"""Normalisation: softmax and its logarithm, layer, RMS and batch normalisation, dropout.

A row's result does not depend on the rows around it (batch statistics, by their meaning, do).
`out=` is written to and returned.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lamella.errors import ShapeError, message
from lamella.ops.base import require_floating
from lamella.ops.norm import LayerNorm, RmsNorm
from lamella.ops.random import Dropout
from lamella.runtime.function import function
from lamella.runtime.tensor import Operand, apply
from lamella.runtime.trace import current

__all__ = ["batch_norm", "dropout", "layer_norm", "log_softmax", "rms_norm", "softmax", "softmin"]


@function
def softmax(input: Operand, dim: int = -1, dtype: Any = None) -> Operand:
    """Exponentials scaled to add up to one along an axis.

    y = exp(input - m) / sum of exp(input - m), m = max(input), along dim

    Parameters: input, any shape; dim, the axis; dtype, what input is cast to first.
    Returns: an array of input's shape. Raises: ShapeError, DTypeError.
    Source: torch.nn.functional.softmax.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.softmax(np.zeros(4, np.float32))
    array([0.25, 0.25, 0.25, 0.25], dtype=float32)
    """
    return (input if dtype is None else input.to(dtype)).softmax(dim)


@function
def softmin(input: Operand, dim: int = -1, dtype: Any = None) -> Operand:
    """Softmax of the negated input: y = softmax(-input).

    Parameters: input, any shape; dim, the axis; dtype, what input is cast to first.
    Returns: an array of input's shape. Raises: ShapeError, DTypeError.
    Source: torch.nn.functional.softmin.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.softmin(np.zeros(4, np.float32))
    array([0.25, 0.25, 0.25, 0.25], dtype=float32)
    """
    return (-(input if dtype is None else input.to(dtype))).softmax(dim)


@function
def log_softmax(input: Operand, dim: int = -1, dtype: Any = None) -> Operand:
    """Logarithm of softmax, without overflow or cancellation.

    y = (input - m) - log(sum of exp(input - m)), m = max(input), along dim

    Parameters: input, any shape; dim, the axis; dtype, what input is cast to first.
    Returns: an array of input's shape. Raises: ShapeError, DTypeError.
    Source: torch.nn.functional.log_softmax.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.log_softmax(np.array([0.0], np.float32))
    array([0.], dtype=float32)
    """
    return (input if dtype is None else input.to(dtype)).log_softmax(dim)


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


@function
def dropout(
    input: Operand, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Operand:
    """In training, zeroes elements at random and scales up the others; else gives input back.

    y = input / (1 - p) with probability 1 - p, 0 with probability p

    The draws come from a counter-based generator (Philox) that lamella.manual_seed restarts: they
    do not depend on the number of threads.

    Parameters: input, any shape; p, the probability, 0 <= p <= 1; training; inplace, accepted and
    ignored. Returns: an array of input's shape. Raises: DTypeError; ValueError for another p.
    Source: Srivastava et al. 2014, "Dropout"; Salmon et al. 2011, "Parallel random numbers: as
    easy as 1, 2, 3"; torch.nn.functional.dropout.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.dropout(np.array([1.0], np.float32), training=False)
    array([1.], dtype=float32)
    """
    if not 0.0 <= p <= 1.0:
        raise ValueError(message("dropout", "not a probability", {"p": p}, "0 <= p <= 1"))
    require_floating("dropout", ("input",), (input._type,))
    if not training or p == 0.0:
        return input
    return apply(Dropout(float(p), current().stream()), input)
