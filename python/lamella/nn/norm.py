# SPDX-License-Identifier: Apache-2.0
"""Normalisation layers: layer norm, RMS norm, and batch norm in one dimension with its statistics.

In training, batch norm's program also writes the statistics back: the graph carries the new values
as updates of the buffers.
"""

from __future__ import annotations

from typing import Any

from lamella import functional as F
from lamella.errors import ShapeError, message
from lamella.functional.norm import batch_statistics
from lamella.nn import init
from lamella.nn.module import Module
from lamella.nn.parameter import Buffer, Counter, Parameter, new_array

__all__ = ["BatchNorm1d", "LayerNorm", "RMSNorm"]


class LayerNorm(Module):
    """y = (x - mean) / sqrt(var + eps) * weight + bias over the last axes.

    Parameters: normalized_shape, the extents of the last axes (an int for one); eps > 0;
    elementwise_affine, whether there are weight and bias; bias, whether there is a bias; device,
    None or 'cpu'; dtype, float32 by default. weight starts at ones, bias at zeros, both of
    normalized_shape. Input and output: (..., *normalized_shape).
    Source: Ba et al. 2016, "Layer normalization"; torch.nn.LayerNorm.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.LayerNorm(2, eps=0.0)(np.array([-3.0, 3.0], np.float32))
    array([-1.,  1.], dtype=float32)
    """

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...] | list[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        shape = (
            (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        )
        self.normalized_shape = shape
        self.eps = float(eps)
        self.elementwise_affine = elementwise_affine
        for name, wanted in (("weight", elementwise_affine), ("bias", elementwise_affine and bias)):
            array = new_array("LayerNorm", shape, device, dtype)
            self.register_parameter(name, Parameter(array) if wanted else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sets weight to ones and bias to zeros."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, x: Any) -> Any:
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        )


class RMSNorm(Module):
    """y = x / sqrt(mean(x^2) + eps) * weight over the last axes.

    Parameters: normalized_shape, the extents of the last axes (an int for one); eps >= 0, None for
    the distance from 1 to the next number of the input's type; elementwise_affine, whether there is
    a weight (ones, of normalized_shape); device, None or 'cpu'; dtype, float32 by default.
    Input and output: (..., *normalized_shape).
    Source: Zhang and Sennrich 2019, "Root mean square layer normalization"; torch.nn.RMSNorm.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.RMSNorm(2, eps=0.0)(np.array([-3.0, 3.0], np.float32))
    array([-1.,  1.], dtype=float32)
    """

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...] | list[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        shape = (
            (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        )
        self.normalized_shape = shape
        self.eps = None if eps is None else float(eps)
        self.elementwise_affine = elementwise_affine
        array = new_array("RMSNorm", shape, device, dtype)
        self.register_parameter("weight", Parameter(array) if elementwise_affine else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sets weight to ones."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, x: Any) -> Any:
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        )


class BatchNorm1d(Module):
    """y = (x - mean) / sqrt(var + eps) * weight + bias, channel by channel.

    In training mean and var are the batch's own, and the running ones move towards them:
    running = (1 - momentum) * running + momentum * batch (with the unbiased variance). In inference
    they are the running ones, or the batch's when there are none.

    Parameters: num_features, C; eps > 0; momentum, None for a cumulative average; affine, whether
    there are weight (ones) and bias (zeros), (C,) each; track_running_stats, whether there are
    running_mean, running_var and num_batches_tracked; device, None or 'cpu'; dtype, float32 by
    default; bias, False for weight alone. Input and output: (N, C) or (N, C, L).
    Raises: ShapeError for other ranks, another C, or one value a channel in training.
    Source: Ioffe and Szegedy 2015, "Batch normalization"; torch.nn.BatchNorm1d.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.BatchNorm1d(1, eps=0.0)(np.array([[-2.0], [2.0]], np.float32))
    array([[-1.],
           [ 1.]], dtype=float32)
    """

    running_mean: Any
    running_var: Any
    num_batches_tracked: Any

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = float(eps)
        self.momentum = None if momentum is None else float(momentum)
        self.affine = affine
        self.track_running_stats = track_running_stats
        zeros = new_array("BatchNorm1d", (num_features,), device, dtype)
        for name, wanted in (("weight", affine), ("bias", affine and bias)):
            self.register_parameter(name, Parameter(zeros) if wanted else None)
        for name in ("running_mean", "running_var"):
            self.register_buffer(name, Buffer(zeros) if track_running_stats else None)
        self.register_buffer("num_batches_tracked", Counter() if track_running_stats else None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Sets the running mean to zeros, the variance to ones and the count to zero."""
        if self.track_running_stats:
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
            self.num_batches_tracked.data = 0

    def reset_parameters(self) -> None:
        """Resets the running statistics, weight to ones and bias to zeros."""
        self.reset_running_stats()
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, x: Any) -> Any:
        if getattr(x, "ndim", None) not in (2, 3):
            shape = getattr(x, "shape", type(x).__name__)
            raise ShapeError(
                message("BatchNorm1d", "wrong rank", {"x": shape}, "(N, C) or (N, C, L)")
            )
        tracked = self.running_mean is not None
        by_batch = self.training or not tracked
        y = F.batch_norm(
            x,
            None if by_batch else self.running_mean,
            None if by_batch else self.running_var,
            self.weight,
            self.bias,
            by_batch,
            self.momentum,
            self.eps,
        )
        if self.training and tracked:
            self._track(x)
        return y

    def _track(self, x: Any) -> None:
        """Moves the running statistics towards those of x."""
        count = self.num_batches_tracked + 1.0
        self.num_batches_tracked = count
        if self.momentum is None:
            rate = (1.0 / count).to(self.running_mean.dtype)
        else:
            rate = self.momentum
        mean, var = batch_statistics(x)
        terms = x.numel() // x.shape[1]
        # Divided first: the product with the number of terms may leave the range.
        unbiased = var.reshape(-1) / (terms - 1) * terms
        self.running_mean = self.running_mean * (1.0 - rate) + mean.reshape(-1) * rate
        self.running_var = self.running_var * (1.0 - rate) + unbiased * rate

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, bias={self.bias is not None}, "
            f"track_running_stats={self.track_running_stats}"
        )
