# SPDX-License-Identifier: Apache-2.0
"""Elementwise activations as layers: torch.nn's classes, constructor arguments and defaults.

Each is one functional of the same meaning; formulas and accuracy stand there. `inplace=` is
accepted so that torch code carries over, and changes nothing: a forward's values are immutable and
the planner alone decides which arrays share memory.
"""

from __future__ import annotations

from typing import Any

from lamella import functional as F
from lamella.nn import init as _init
from lamella.nn.module import Module
from lamella.nn.parameter import Parameter, new_array

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "SELU",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "LeakyReLU",
    "LogSigmoid",
    "Mish",
    "PReLU",
    "ReLU",
    "ReLU6",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanh",
    "Tanhshrink",
    "Threshold",
]


class _Inplace(Module):
    """An activation whose torch constructor takes `inplace`, alone or behind its numbers."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def numbers(self) -> str:
        """What extra_repr shows before `inplace`."""
        return ""

    def extra_repr(self) -> str:
        shown = [self.numbers()] if self.numbers() else []
        return ", ".join(shown + ["inplace=True"] * self.inplace)


class ReLU(_Inplace):
    """y = max(x, 0), elementwise.

    Parameters: inplace, accepted and ignored. Input and output: any shape.
    Source: Nair and Hinton 2010, "Rectified linear units improve restricted Boltzmann machines".

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.ReLU()(np.array([-1.0, 2.0], np.float32))
    array([0., 2.], dtype=float32)
    """

    def forward(self, x: Any) -> Any:
        return F.relu(x)


class ReLU6(_Inplace):
    """y = min(max(x, 0), 6), elementwise.

    Parameters: inplace, accepted and ignored. Input and output: any shape.
    Source: Krizhevsky 2010, "Convolutional deep belief networks on CIFAR-10"; torch.nn.ReLU6.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.ReLU6()(np.array([-1.0, 7.0], np.float32))
    array([0., 6.], dtype=float32)
    """

    def forward(self, x: Any) -> Any:
        return F.relu6(x)


class LeakyReLU(_Inplace):
    """y = x for x > 0, negative_slope * x otherwise.

    Parameters: negative_slope; inplace, accepted and ignored. Input and output: any shape.
    Source: Maas et al. 2013, "Rectifier nonlinearities improve neural network acoustic models".

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.LeakyReLU(0.5)(np.array([-1.0, 2.0], np.float32))
    array([-0.5,  2. ], dtype=float32)
    """

    def __init__(self, negative_slope: float = 1e-2, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.negative_slope = float(negative_slope)

    def forward(self, x: Any) -> Any:
        return F.leaky_relu(x, self.negative_slope)

    def numbers(self) -> str:
        return f"negative_slope={self.negative_slope}"


class PReLU(Module):
    """y = x for x > 0, weight * x otherwise, with a learnt slope, one for all or one a channel.

    Parameters: num_parameters, 1 or the number of channels (dimension 1); init, the first slope.
    Input and output: (N, C, ...), any shape when num_parameters is 1.
    Source: He et al. 2015, "Delving deep into rectifiers"; torch.nn.PReLU.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.PReLU()(np.array([-1.0, 2.0], np.float32))
    array([-0.25,  2.  ], dtype=float32)
    """

    def __init__(
        self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.num_parameters = num_parameters
        self.init = init
        self.weight = Parameter(new_array("PReLU", (num_parameters,), device, dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        _init.constant_(self.weight, self.init)

    def forward(self, x: Any) -> Any:
        return F.prelu(x, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class ELU(_Inplace):
    """y = x for x > 0, alpha * (exp(x) - 1) otherwise.

    Parameters: alpha; inplace, accepted and ignored. Input and output: any shape.
    Source: Clevert et al. 2015, "Fast and accurate deep network learning by exponential linear
    units".

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.ELU()(np.array([0.0, 2.0], np.float32))
    array([0., 2.], dtype=float32)
    """

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.alpha = float(alpha)

    def forward(self, x: Any) -> Any:
        return F.elu(x, self.alpha)

    def numbers(self) -> str:
        return f"alpha={self.alpha}"


class SELU(_Inplace):
    """y = scale * (x for x > 0, alpha * (exp(x) - 1) otherwise), scale and alpha of the paper.

    Parameters: inplace, accepted and ignored. Input and output: any shape.
    Source: Klambauer et al. 2017, "Self-normalizing neural networks".

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.SELU()(np.array([0.0], np.float32))
    array([0.], dtype=float32)
    """

    def forward(self, x: Any) -> Any:
        return F.selu(x)


class CELU(_Inplace):
    """y = max(x, 0) + min(alpha * (exp(x / alpha) - 1), 0).

    Parameters: alpha, not 0; inplace, accepted and ignored. Input and output: any shape.
    Source: Barron 2017, "Continuously differentiable exponential linear units".

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.CELU()(np.array([0.0, 2.0], np.float32))
    array([0., 2.], dtype=float32)
    """

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.alpha = float(alpha)

    def forward(self, x: Any) -> Any:
        return F.celu(x, self.alpha)

    def numbers(self) -> str:
        return f"alpha={self.alpha}"


class GELU(Module):
    """y = x * Phi(x), Phi the standard normal distribution function.

    Parameters: approximate, 'none' for the exact function (through erfc), 'tanh' for the
    approximation of the paper. Input and output: any shape.
    Source: Hendrycks and Gimpel 2016, "Gaussian error linear units".

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.GELU()(np.array([0.0], np.float32))
    array([0.], dtype=float32)
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, x: Any) -> Any:
        return F.gelu(x, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class SiLU(_Inplace):
    """y = x * sigmoid(x).

    Parameters: inplace, accepted and ignored. Input and output: any shape.
    Source: Elfwing et al. 2017, "Sigmoid-weighted linear units"; also known as swish.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.SiLU()(np.array([0.0], np.float32))
    array([0.], dtype=float32)
    """

    def forward(self, x: Any) -> Any:
        return F.silu(x)


class Mish(_Inplace):
    """y = x * tanh(log(1 + exp(x))).

    Parameters: inplace, accepted and ignored. Input and output: any shape.
    Source: Misra 2019, "Mish: a self regularized non-monotonic activation function".

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.Mish()(np.array([0.0], np.float32))
    array([0.], dtype=float32)
    """

    def forward(self, x: Any) -> Any:
        return F.mish(x)


class Softplus(Module):
    """y = log(1 + exp(beta * x)) / beta, and x itself where beta * x > threshold.

    Parameters: beta > 0; threshold. Input and output: any shape.
    Source: Dugas et al. 2001; torch.nn.Softplus.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.Softplus()(np.array([30.0], np.float32))
    array([30.], dtype=float32)
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta = float(beta)
        self.threshold = float(threshold)

    def forward(self, x: Any) -> Any:
        return F.softplus(x, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class Softsign(Module):
    """y = x / (1 + |x|).

    Input and output: any shape. Source: Glorot and Bengio 2010; torch.nn.Softsign.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.Softsign()(np.array([-1.0, 3.0], np.float32))
    array([-0.5 ,  0.75], dtype=float32)
    """

    def forward(self, x: Any) -> Any:
        return F.softsign(x)


class Sigmoid(Module):
    """y = 1 / (1 + exp(-x)).

    Input and output: any shape. Source: torch.nn.Sigmoid.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.Sigmoid()(np.array([0.0], np.float32))
    array([0.5], dtype=float32)
    """

    def forward(self, x: Any) -> Any:
        return F.sigmoid(x)


class Tanh(Module):
    """y = tanh(x).

    Input and output: any shape. Source: torch.nn.Tanh.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.Tanh()(np.array([0.0], np.float32))
    array([0.], dtype=float32)
    """

    def forward(self, x: Any) -> Any:
        return F.tanh(x)


class Hardtanh(_Inplace):
    """y = x cut off at min_val and max_val.

    Parameters: min_val < max_val; inplace, accepted and ignored. Input and output: any shape.
    Source: Collobert 2004; torch.nn.Hardtanh.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.Hardtanh()(np.array([-3.0, 0.5], np.float32))
    array([-1. ,  0.5], dtype=float32)
    """

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.min_val = float(min_val)
        self.max_val = float(max_val)

    def forward(self, x: Any) -> Any:
        return F.hardtanh(x, self.min_val, self.max_val)

    def numbers(self) -> str:
        return f"min_val={self.min_val}, max_val={self.max_val}"


class Hardsigmoid(_Inplace):
    """y = min(max(x + 3, 0), 6) / 6.

    Parameters: inplace, accepted and ignored. Input and output: any shape.
    Source: Howard et al. 2019, "Searching for MobileNetV3"; torch.nn.Hardsigmoid.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.Hardsigmoid()(np.array([-4.0, 0.0], np.float32))
    array([0. , 0.5], dtype=float32)
    """

    def forward(self, x: Any) -> Any:
        return F.hardsigmoid(x)


class Hardswish(_Inplace):
    """y = x * min(max(x + 3, 0), 6) / 6.

    Parameters: inplace, accepted and ignored. Input and output: any shape.
    Source: Howard et al. 2019, "Searching for MobileNetV3"; torch.nn.Hardswish.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.Hardswish()(np.array([4.0], np.float32))
    array([4.], dtype=float32)
    """

    def forward(self, x: Any) -> Any:
        return F.hardswish(x)


class Tanhshrink(Module):
    """y = x - tanh(x).

    Input and output: any shape. Source: torch.nn.Tanhshrink.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.Tanhshrink()(np.array([0.0], np.float32))
    array([0.], dtype=float32)
    """

    def forward(self, x: Any) -> Any:
        return F.tanhshrink(x)


class Softshrink(Module):
    """y = x - lambd for x > lambd, x + lambd for x < -lambd, 0 between.

    Parameters: lambd >= 0. Input and output: any shape. Source: torch.nn.Softshrink.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.Softshrink()(np.array([0.25, 2.0], np.float32))
    array([0. , 1.5], dtype=float32)
    """

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = float(lambd)

    def forward(self, x: Any) -> Any:
        return F.softshrink(x, self.lambd)

    def extra_repr(self) -> str:
        return str(self.lambd)


class Hardshrink(Module):
    """y = x for |x| > lambd, 0 otherwise.

    Parameters: lambd >= 0. Input and output: any shape. Source: torch.nn.Hardshrink.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.Hardshrink()(np.array([0.25, 2.0], np.float32))
    array([0., 2.], dtype=float32)
    """

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = float(lambd)

    def forward(self, x: Any) -> Any:
        return F.hardshrink(x, self.lambd)

    def extra_repr(self) -> str:
        return str(self.lambd)


class Threshold(_Inplace):
    """y = x for x > threshold, value otherwise.

    Parameters: threshold; value; inplace, accepted and ignored. Input and output: any shape.
    Source: torch.nn.Threshold.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.Threshold(1.0, -8.0)(np.array([0.5, 2.0], np.float32))
    array([-8.,  2.], dtype=float32)
    """

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.threshold = float(threshold)
        self.value = float(value)

    def forward(self, x: Any) -> Any:
        return F.threshold(x, self.threshold, self.value)

    def numbers(self) -> str:
        return f"threshold={self.threshold}, value={self.value}"


class LogSigmoid(Module):
    """y = log(sigmoid(x)), without overflow.

    Input and output: any shape. Source: torch.nn.LogSigmoid.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.LogSigmoid()(np.array([-100.0], np.float32))
    array([-100.], dtype=float32)
    """

    def forward(self, x: Any) -> Any:
        return F.logsigmoid(x)
