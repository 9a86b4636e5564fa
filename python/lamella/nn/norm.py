# SPDX-License-Identifier: Apache-2.0
"""Normalisation layers: layer, RMS, group and local response norm; batch and instance norm.

In training, the programs of the last two also write running statistics back: the graph carries the
new values as updates of the buffers.
"""

from __future__ import annotations

from typing import Any, ClassVar

from lamella import functional as F
from lamella.errors import ShapeError, message
from lamella.functional.norm import batch_statistics
from lamella.nn import init
from lamella.nn.module import Module
from lamella.nn.parameter import Buffer, Counter, Parameter, new_array

__all__ = [
    "BatchNorm1d",
    "GroupNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LayerNorm",
    "LocalResponseNorm",
    "RMSNorm",
]


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


class GroupNorm(Module):
    """y = (x - mean) / sqrt(var + eps) * weight + bias, mean and var those of a group of channels.

    Parameters: num_groups, a divisor of num_channels, C; eps > 0; affine, whether there are weight
    (ones) and bias (zeros), (C,) each; device, None or 'cpu'; dtype, float32 by default; bias,
    False for weight alone. Input and output: (N, C, ...). Raises: ValueError where the groups do
    not come out even; ShapeError for another C.
    Source: Wu and He 2018, "Group normalization"; torch.nn.GroupNorm.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.GroupNorm(2, 4, eps=0.0)(np.array([[-1.0, 1.0, 4.0, 8.0]], np.float32))
    array([[-1.,  1., -1.,  1.]], dtype=float32)
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if num_groups < 1 or num_channels % num_groups:
            raise ValueError(
                message(
                    "GroupNorm",
                    "channels are no multiple of num_groups",
                    {"num_channels": num_channels, "num_groups": num_groups},
                    "num_channels % num_groups == 0",
                )
            )
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = float(eps)
        self.affine = affine
        for name, wanted in (("weight", affine), ("bias", affine and bias)):
            array = new_array("GroupNorm", (num_channels,), device, dtype)
            self.register_parameter(name, Parameter(array) if wanted else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sets weight to ones and bias to zeros."""
        _reset_affine(self)

    def forward(self, x: Any) -> Any:
        if not self.affine and getattr(x, "shape", ())[1:2] != (self.num_channels,):
            shape = getattr(x, "shape", type(x).__name__)
            raise ShapeError(
                message(
                    "GroupNorm", "channels differ", {"x": shape}, f"(N, {self.num_channels}, ...)"
                )
            )
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )


class LocalResponseNorm(Module):
    """y[c] = x[c] / (k + alpha / size * sum of x[j]**2)**beta, over the channels j around c.

    Parameters: size >= 1, how many channels count; alpha, beta, k. Input and output: (N, C, ...)
    with at least one axis more.
    Source: Krizhevsky et al. 2012, "ImageNet classification with deep convolutional neural
    networks"; torch.nn.LocalResponseNorm.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.LocalResponseNorm(2, alpha=2.0, beta=1.0)(np.array([[[1.0], [2.0]]], np.float32))
    array([[[0.5       ],
            [0.33333334]]], dtype=float32)
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size = size
        self.alpha = float(alpha)
        self.beta = float(beta)
        self.k = float(k)

    def forward(self, x: Any) -> Any:
        return F.local_response_norm(x, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


def _reset_affine(module: Module) -> None:
    if module.weight is not None:
        init.ones_(module.weight)
    if module.bias is not None:
        init.zeros_(module.bias)


class _Running(Module):
    """What has running statistics of its channels.

    What both kinds take, keep and show; a kind says in `_by_batch` how its training goes.
    """

    running_mean: Any
    running_var: Any
    num_batches_tracked: Any

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        device: Any,
        dtype: Any,
        bias: bool,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = float(eps)
        self.momentum = None if momentum is None else float(momentum)
        self.affine = affine
        self.track_running_stats = track_running_stats
        zeros = new_array(type(self).__name__, (num_features,), device, dtype)
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
        _reset_affine(self)

    def _move(self, mean: Any, unbiased: Any, rate: Any) -> None:
        """Moves the running statistics towards these, (C,) each."""
        self.running_mean = self.running_mean * (1.0 - rate) + mean * rate
        self.running_var = self.running_var * (1.0 - rate) + unbiased * rate

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, bias={self.bias is not None}, "
            f"track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_Running):
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
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype, bias
        )

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
        self._move(mean.reshape(-1), unbiased, rate)


class InstanceNorm1d(_Running):
    """y = (x - mean) / sqrt(var + eps) * weight + bias, each channel of each sample by its own.

    With track_running_stats, running statistics move in training towards the means over the batch:
    running = (1 - momentum) * running + momentum * mean (of the unbiased variances); in inference
    they take the place of the samples' own.

    Parameters: num_features, C; eps > 0; momentum, None for 0 as in torch; affine, whether there
    are weight (ones) and bias (zeros), (C,) each; track_running_stats, whether there are
    running_mean, running_var and num_batches_tracked, which stays 0 as in torch; device, None or
    'cpu'; dtype, float32 by default; bias, False for weight alone.
    Input and output: (N, C, L), or (C, L) for one sample; of InstanceNorm2d (N, C, H, W) or
    (C, H, W), of InstanceNorm3d (N, C, D, H, W) or (C, D, H, W).
    Raises: ShapeError for other ranks, another C, or one value a channel.
    Source: Ulyanov et al. 2016, "Instance normalization"; torch.nn.InstanceNorm1d.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.InstanceNorm1d(1, eps=0.0)(np.array([[[-2.0, 2.0]]], np.float32))
    array([[[-1.,  1.]]], dtype=float32)
    """

    _axes: ClassVar[str] = "L"

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype, bias
        )

    def forward(self, x: Any) -> Any:
        shape, rank = getattr(x, "shape", ()), len(self._axes) + 2
        if len(shape) not in (rank - 1, rank) or shape[len(shape) - rank + 1] != self.num_features:
            axes = ", ".join(self._axes)
            raise ShapeError(
                message(
                    type(self).__name__,
                    "wrong shape",
                    {"x": shape or type(x).__name__},
                    f"(N, {self.num_features}, {axes}) or ({self.num_features}, {axes})",
                )
            )
        batch = x if len(shape) == rank else x.unsqueeze(0)
        tracked = self.running_mean is not None
        by_sample = self.training or not tracked
        y = F.instance_norm(
            batch,
            None if by_sample else self.running_mean,
            None if by_sample else self.running_var,
            self.weight,
            self.bias,
            by_sample,
            eps=self.eps,
        )
        if self.training and tracked:
            # Means of the samples': dim 1 are the channels.
            rows = batch.reshape(*batch.shape[:2], -1)
            rate = 0.0 if self.momentum is None else self.momentum
            self._move(rows.mean(-1).mean(0), rows.var(-1).mean(0), rate)
        return y if len(shape) == rank else y.squeeze(0)


class InstanceNorm2d(InstanceNorm1d):
    """Instance norm of images, (N, C, H, W) or (C, H, W): see InstanceNorm1d.

    Source: torch.nn.InstanceNorm2d.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.InstanceNorm2d(3)(np.ones((2, 3, 4, 4), np.float32)).shape
    (2, 3, 4, 4)
    """

    _axes = "HW"


class InstanceNorm3d(InstanceNorm1d):
    """Instance norm of volumes, (N, C, D, H, W) or (C, D, H, W): see InstanceNorm1d.

    Source: torch.nn.InstanceNorm3d.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.InstanceNorm3d(3)(np.ones((3, 2, 4, 4), np.float32)).shape
    (3, 2, 4, 4)
    """

    _axes = "DHW"
