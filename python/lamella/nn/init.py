# SPDX-License-Identifier: Apache-2.0
"""Initialisers: fill a parameter (or a writable array) in place, and return it.

Names, arguments and distributions are torch.nn.init's. Draws come from one NumPy Philox generator
that `lamella.manual_seed` restarts, so a seed gives the same weights on every machine and for any
thread count; `generator=` takes another one. Draws are made in float64 and rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from lamella.errors import DTypeError, ShapeError, UnsupportedError, message
from lamella.nn.parameter import Stored

__all__ = [
    "calculate_gain",
    "constant_",
    "eye_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "orthogonal_",
    "seed",
    "trunc_normal_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]

Target = TypeVar("Target", bound="Stored | np.ndarray[Any, Any]")

if TYPE_CHECKING:
    from numpy.random import Generator

# Made when first drawn from: importing numpy.random takes longer than all of this package.
_generator: Generator | None = None


def seed(value: int) -> None:
    """Restarts the generator that every initialiser draws from.

    Parameters: value, int >= 0.

    >>> from lamella import nn
    >>> nn.init.seed(7)
    """
    global _generator
    _generator = np.random.Generator(np.random.Philox(value))


def _source(generator: Generator | None) -> Generator:
    if generator is not None:
        if not isinstance(generator, np.random.Generator):
            raise TypeError(
                message(
                    "init",
                    "no generator",
                    {"generator": type(generator).__name__},
                    "numpy.random.Generator",
                )
            )
        return generator
    if _generator is None:
        seed(0)
    assert _generator is not None
    return _generator


def _shape(name: str, tensor: Target) -> tuple[int, ...]:
    """The shape of something that can be initialised in place."""
    given: Any = tensor
    if not isinstance(given, Stored) and not (
        isinstance(given, np.ndarray) and given.dtype.kind == "f" and given.flags.writeable
    ):
        raise DTypeError(
            message(
                name,
                "this cannot be initialised in place",
                got={"tensor": _describe(tensor)},
                expected="an nn.Parameter, an nn.Buffer or a writable floating array",
            )
        )
    shape: tuple[int, ...] = given.shape
    return shape


def _fill(name: str, tensor: Target, draw: Callable[[tuple[int, ...]], Any]) -> Target:
    given: Any = tensor
    shape = _shape(name, tensor)
    try:
        values = draw(shape)
    except (ArithmeticError, ValueError) as error:
        raise ValueError(message(name, f"the distribution has no such numbers: {error}")) from None
    if isinstance(given, Stored):
        given.data = np.broadcast_to(values, shape)
    else:
        given[...] = values
    return tensor


def _describe(tensor: object) -> str:
    if isinstance(tensor, np.ndarray):
        return f"{'' if tensor.flags.writeable else 'read-only '}array of {tensor.dtype}"
    return type(tensor).__name__


def _fans(name: str, tensor: Target) -> tuple[int, int]:
    shape = _shape(name, tensor)
    if len(shape) < 2:
        raise ShapeError(
            message(
                name,
                "fan in and fan out need two dimensions",
                got={"tensor": shape},
                expected="a shape (out, in, ...)",
                advice="use nn.init.uniform_ or nn.init.normal_ for vectors",
            )
        )
    window = math.prod(shape[2:])
    return shape[1] * window, shape[0] * window


def _fan(name: str, tensor: Target, mode: str) -> int:
    fan_in, fan_out = _fans(name, tensor)
    if mode == "fan_in":
        return fan_in
    if mode == "fan_out":
        return fan_out
    raise ValueError(
        message(name, "unknown mode", got={"mode": mode}, expected="'fan_in' or 'fan_out'")
    )


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps a layer's output variance at one behind a nonlinearity.

    linear, conv*, sigmoid: 1; tanh: 5/3; relu: sqrt(2); leaky_relu: sqrt(2 / (1 + slope**2));
    selu: 3/4.

    Parameters: nonlinearity, the function's name; param, leaky_relu's negative slope (0.01).
    Returns: the gain. Raises: UnsupportedError for an unknown name.
    Source: He et al. 2015, "Delving deep into rectifiers"; torch.nn.init.calculate_gain.

    >>> from lamella import nn
    >>> round(nn.init.calculate_gain("relu"), 4)
    1.4142
    """
    if nonlinearity in ("linear", "sigmoid") or str(nonlinearity).startswith("conv"):
        return 1.0
    if nonlinearity == "tanh":
        return 5.0 / 3
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        return math.sqrt(2.0 / (1 + (0.01 if param is None else float(param)) ** 2))
    if nonlinearity == "selu":
        return 3.0 / 4
    raise UnsupportedError(
        message(
            "calculate_gain",
            "no gain is known for this function",
            got={"nonlinearity": nonlinearity},
            expected="linear, conv*, sigmoid, tanh, relu, leaky_relu or selu",
        )
    )


def uniform_(
    tensor: Target, a: float = 0.0, b: float = 1.0, generator: Generator | None = None
) -> Target:
    """Draws every element from the uniform distribution on [a, b).

    Parameters: tensor, what to fill, any shape; a, b, the bounds, a <= b.
    Returns: tensor. Raises: DTypeError when tensor is not floating or not writable.
    Source: torch.nn.init.uniform_.

    >>> import numpy as np
    >>> from lamella import nn
    >>> bool(abs(nn.init.uniform_(np.empty((3, 4)), -1, 1)).max() <= 1)
    True
    """
    return _fill("uniform_", tensor, lambda shape: _source(generator).uniform(a, b, shape))


def normal_(
    tensor: Target, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None
) -> Target:
    """Draws every element from the normal distribution N(mean, std**2).

    Parameters: tensor, what to fill, any shape; mean; std >= 0.
    Returns: tensor. Raises: DTypeError when tensor is not floating or not writable.
    Source: torch.nn.init.normal_.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.init.normal_(np.empty((3, 4))).shape
    (3, 4)
    """
    return _fill("normal_", tensor, lambda shape: _source(generator).normal(mean, std, shape))


def trunc_normal_(
    tensor: Target,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Target:
    """Draws from N(mean, std**2) cut off outside [a, b] (absolute bounds, not in units of std).

    x = mean + std * quantile(u), u uniform on [cdf((a - mean) / std), cdf((b - mean) / std)].

    Parameters: tensor, what to fill, any shape; mean; std > 0; a <= b, the bounds.
    Returns: tensor. Raises: DTypeError when tensor is not floating or not writable.
    Source: torch.nn.init.trunc_normal_; quantile by Wichura 1988, algorithm AS 241.

    >>> import numpy as np
    >>> from lamella import nn
    >>> bool(abs(nn.init.trunc_normal_(np.empty(100), std=5.0)).max() <= 2)
    True
    """

    def cdf(x: float) -> float:
        return (1.0 + math.erf(x / math.sqrt(2.0))) / 2.0

    def draw(shape: tuple[int, ...]) -> Any:
        low, high = cdf((a - mean) / std), cdf((b - mean) / std)
        u = _source(generator).uniform(low, high, shape)
        return np.clip(mean + std * _normal_quantile(u), a, b)

    return _fill("trunc_normal_", tensor, draw)


# Numerators and denominators of AS 241's three rational approximations, highest power first.
_CENTRAL = (
    (2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4,
     4.5921953931549871457e4, 1.3731693765509461125e4, 1.9715909503065514427e3,
     1.3314166789178437745e2, 3.3871328727963666080e0),
    (5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4,
     2.1213794301586595867e4, 5.3941960214247511077e3, 6.8718700749205790830e2,
     4.2313330701600911252e1, 1.0),
)  # fmt: skip
_MIDDLE = (
    (7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1,
     1.27045825245236838258e0, 3.64784832476320460504e0, 5.76949722146069140550e0,
     4.63033784615654529590e0, 1.42343711074968357734e0),
    (1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2,
     1.48103976427480074590e-1, 6.89767334985100004550e-1, 1.67638483018380384940e0,
     2.05319162663775882187e0, 1.0),
)  # fmt: skip
_TAIL = (
    (2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3,
     2.65321895265761230930e-2, 2.96560571828504891230e-1, 1.78482653991729133580e0,
     5.46378491116411436990e0, 6.65790464350110377720e0),
    (2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5,
     7.86869131145613259100e-4, 1.48753612908506148525e-2, 1.36929880922735805310e-1,
     5.99832206555887937690e-1, 1.0),
)  # fmt: skip


def _normal_quantile(p: Any) -> Any:
    """Inverse of the standard normal distribution function, relative error about 1e-16."""
    q = p - 0.5
    with np.errstate(divide="ignore", invalid="ignore"):
        r = 0.180625 - q * q
        central = q * np.polyval(_CENTRAL[0], r) / np.polyval(_CENTRAL[1], r)
        s = np.sqrt(-np.log(np.minimum(p, 1.0 - p)))
        middle = np.polyval(_MIDDLE[0], s - 1.6) / np.polyval(_MIDDLE[1], s - 1.6)
        tail = np.polyval(_TAIL[0], s - 5.0) / np.polyval(_TAIL[1], s - 5.0)
    outer = np.copysign(np.where(s <= 5.0, middle, np.where(np.isinf(s), np.inf, tail)), q)
    return np.where(np.abs(q) <= 0.425, central, outer)


def constant_(tensor: Target, val: float) -> Target:
    """Sets every element to one value.

    Parameters: tensor, what to fill, any shape; val, the value.
    Returns: tensor. Raises: DTypeError when tensor is not floating or not writable.
    Source: torch.nn.init.constant_.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.init.constant_(np.empty(2), 0.5)
    array([0.5, 0.5])
    """
    return _fill("constant_", tensor, lambda shape: np.full(shape, val, np.float64))


def ones_(tensor: Target) -> Target:
    """Sets every element to one.

    Parameters: tensor, what to fill, any shape. Returns: tensor.
    Raises: DTypeError when tensor is not floating or not writable.
    Source: torch.nn.init.ones_.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.init.ones_(np.empty(2))
    array([1., 1.])
    """
    return _fill("ones_", tensor, np.ones)


def zeros_(tensor: Target) -> Target:
    """Sets every element to zero.

    Parameters: tensor, what to fill, any shape. Returns: tensor.
    Raises: DTypeError when tensor is not floating or not writable.
    Source: torch.nn.init.zeros_.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.init.zeros_(np.empty(2))
    array([0., 0.])
    """
    return _fill("zeros_", tensor, np.zeros)


def eye_(tensor: Target) -> Target:
    """Sets a matrix to the identity: ones on the main diagonal, zeros elsewhere.

    Parameters: tensor, shape (K, D). Returns: tensor.
    Raises: ShapeError when tensor is not a matrix. Source: torch.nn.init.eye_.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.init.eye_(np.empty((2, 2)))
    array([[1., 0.],
           [0., 1.]])
    """
    if len(_shape("eye_", tensor)) != 2:
        raise ShapeError(
            message("eye_", "only matrices", got={"tensor": tensor.shape}, expected="2 dimensions")
        )
    return _fill("eye_", tensor, lambda shape: np.eye(shape[0], shape[1]))


def xavier_uniform_(
    tensor: Target, gain: float = 1.0, generator: Generator | None = None
) -> Target:
    """Uniform on [-bound, bound], bound = gain * sqrt(6 / (fan_in + fan_out)).

    Parameters: tensor, shape (out, in, ...); gain, see calculate_gain.
    Returns: tensor. Raises: ShapeError below two dimensions.
    Source: Glorot and Bengio 2010, "Understanding the difficulty of training deep feedforward
    neural networks"; torch.nn.init.xavier_uniform_.

    >>> import numpy as np
    >>> from lamella import nn
    >>> bool(abs(nn.init.xavier_uniform_(np.empty((2, 4)))).max() <= 1)
    True
    """
    bound = gain * math.sqrt(6.0 / max(1, sum(_fans("xavier_uniform_", tensor))))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Target, gain: float = 1.0, generator: Generator | None = None) -> Target:
    """Normal with mean 0 and std = gain * sqrt(2 / (fan_in + fan_out)).

    Parameters: tensor, shape (out, in, ...); gain, see calculate_gain.
    Returns: tensor. Raises: ShapeError below two dimensions.
    Source: Glorot and Bengio 2010; torch.nn.init.xavier_normal_.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.init.xavier_normal_(np.empty((2, 4))).shape
    (2, 4)
    """
    std = gain * math.sqrt(2.0 / max(1, sum(_fans("xavier_normal_", tensor))))
    return normal_(tensor, 0.0, std, generator)


def kaiming_uniform_(
    tensor: Target,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Target:
    """Uniform on [-bound, bound], bound = gain * sqrt(3 / fan).

    Parameters: tensor, shape (out, in, ...); a, leaky_relu's negative slope; mode, 'fan_in' keeps
    the variance going forward, 'fan_out' going backward; nonlinearity, see calculate_gain.
    Returns: tensor. Raises: ShapeError below two dimensions; ValueError for another mode.
    Source: He et al. 2015, "Delving deep into rectifiers"; torch.nn.init.kaiming_uniform_.

    >>> import numpy as np
    >>> from lamella import nn
    >>> bool(abs(nn.init.kaiming_uniform_(np.empty((2, 6)))).max() <= 1)
    True
    """
    fan = max(1, _fan("kaiming_uniform_", tensor, mode))
    bound = calculate_gain(nonlinearity, a) * math.sqrt(3.0 / fan)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Target,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Target:
    """Normal with mean 0 and std = gain / sqrt(fan).

    Parameters: tensor, shape (out, in, ...); a, leaky_relu's negative slope; mode, 'fan_in' keeps
    the variance going forward, 'fan_out' going backward; nonlinearity, see calculate_gain.
    Returns: tensor. Raises: ShapeError below two dimensions; ValueError for another mode.
    Source: He et al. 2015; torch.nn.init.kaiming_normal_.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.init.kaiming_normal_(np.empty((2, 4)), nonlinearity="relu").shape
    (2, 4)
    """
    fan = max(1, _fan("kaiming_normal_", tensor, mode))
    return normal_(tensor, 0.0, calculate_gain(nonlinearity, a) / math.sqrt(fan), generator)


def orthogonal_(tensor: Target, gain: float = 1.0, generator: Generator | None = None) -> Target:
    """Fills with a (semi-)orthogonal matrix: the smaller side's vectors are orthonormal.

    The Q of a normal matrix's QR factors, columns' signs taken from R's diagonal, times gain;
    dimensions behind the first count as one.

    Parameters: tensor, shape (K, D, ...); gain, see calculate_gain.
    Returns: tensor. Raises: ShapeError below two dimensions.
    Source: Saxe et al. 2013, "Exact solutions to the nonlinear dynamics of learning in deep linear
    neural networks"; torch.nn.init.orthogonal_.

    >>> import numpy as np
    >>> from lamella import nn
    >>> q = nn.init.orthogonal_(np.empty((3, 5)))
    >>> bool(np.allclose(q @ q.T, np.eye(3)))
    True
    """
    if len(_shape("orthogonal_", tensor)) < 2:
        _fans("orthogonal_", tensor)

    def draw(shape: tuple[int, ...]) -> Any:
        if 0 in shape:
            return np.zeros(shape)
        rows, cols = shape[0], math.prod(shape[1:])
        flat = _source(generator).normal(size=(max(rows, cols), min(rows, cols)))
        q, r = np.linalg.qr(flat)
        q *= np.where(np.diag(r) < 0, -1.0, 1.0)
        return gain * (q if rows >= cols else q.T).reshape(shape)

    return _fill("orthogonal_", tensor, draw)
