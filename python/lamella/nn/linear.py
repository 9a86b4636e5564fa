# SPDX-License-Identifier: Apache-2.0
"""Linear, Bilinear, Identity, and the layers that only change shapes.

Weights lie as in torch: (out, in). Their initial distributions are torch's as well.
"""

from __future__ import annotations

import math
from typing import Any

from lamella import functional as F
from lamella.ir.types import DType
from lamella.nn import init
from lamella.nn.module import Module
from lamella.nn.parameter import Parameter, new_array

__all__ = ["Bilinear", "Flatten", "Identity", "Linear", "Unflatten"]


class Identity(Module):
    """y = x; a placeholder that takes, and ignores, any constructor arguments.

    Source: torch.nn.Identity.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.Identity()(np.array([1.0], np.float32))
    array([1.], dtype=float32)
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, x: Any) -> Any:
        return x


class Linear(Module):
    """y = x @ weight.T + bias.

    Parameters: in_features, D; out_features, K; bias, whether there is one; device, None or 'cpu';
    dtype, float32 by default. weight is (K, D), bias (K,), both drawn uniformly from
    [-1 / sqrt(D), 1 / sqrt(D)]. Input: (..., D); output: (..., K). With bfloat16 or float16 the
    weight is stored so and the layer is one of float32 all the same: see `Module.narrow`.
    Raises: ShapeError for another width. Source: torch.nn.Linear.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.Linear(3, 2)(np.zeros((4, 3), np.float32)).shape
    (4, 2)
    """

    _factors = ("weight",)

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        stored = None if dtype is None else DType.of(dtype)
        if stored is not None and stored.is_storage:
            dtype = None
        self.weight = Parameter(new_array("Linear", (out_features, in_features), device, dtype))
        if bias:
            self.bias = Parameter(new_array("Linear", (out_features,), device, dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()
        if stored is not None and stored.is_storage:
            self.weight.cast(stored)

    def reset_parameters(self) -> None:
        """Draws weight and bias anew."""
        bound = 1.0 / math.sqrt(self.in_features) if self.in_features else 0.0
        for parameter in self.parameters(recurse=False):
            init.uniform_(parameter, -bound, bound)

    def forward(self, x: Any) -> Any:
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


class Bilinear(Module):
    """y[k] = x1 @ weight[k] @ x2 + bias[k].

    Parameters: in1_features, D1; in2_features, D2; out_features, K; bias, whether there is one;
    device, None or 'cpu'; dtype, float32 by default. weight is (K, D1, D2), bias (K,), both drawn
    uniformly from [-1 / sqrt(D1), 1 / sqrt(D1)]. Inputs: (..., D1) and (..., D2); output: (..., K).
    Raises: ShapeError for other widths. Source: torch.nn.Bilinear.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.Bilinear(3, 4, 2)(np.zeros((5, 3), np.float32), np.zeros((5, 4), np.float32)).shape
    (5, 2)
    """

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.in1_features = in1_features
        self.in2_features = in2_features
        self.out_features = out_features
        shape = (out_features, in1_features, in2_features)
        self.weight = Parameter(new_array("Bilinear", shape, device, dtype))
        if bias:
            self.bias = Parameter(new_array("Bilinear", (out_features,), device, dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws weight and bias anew."""
        bound = 1.0 / math.sqrt(self.in1_features) if self.in1_features else 0.0
        for parameter in self.parameters(recurse=False):
            init.uniform_(parameter, -bound, bound)

    def forward(self, x1: Any, x2: Any) -> Any:
        return F.bilinear(x1, x2, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
            f"out_features={self.out_features}, bias={self.bias is not None}"
        )


class Flatten(Module):
    """Makes the axes start_dim..end_dim one; by default all but the batch.

    Parameters: start_dim, end_dim. Input: any shape; output: fewer axes.
    Source: torch.nn.Flatten.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.Flatten()(np.zeros((2, 3, 4), np.float32)).shape
    (2, 12)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, x: Any) -> Any:
        return F.flatten(x, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Makes one axis several.

    Parameters: dim, the axis; unflattened_size, its new extents, one of which may be -1.
    Input: any shape; output: more axes. Source: torch.nn.Unflatten.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.Unflatten(1, (3, 4))(np.zeros((2, 12), np.float32)).shape
    (2, 3, 4)
    """

    def __init__(self, dim: int, unflattened_size: tuple[int, ...]) -> None:
        super().__init__()
        self.dim = dim
        self.unflattened_size = tuple(unflattened_size)

    def forward(self, x: Any) -> Any:
        return F.unflatten(x, self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
