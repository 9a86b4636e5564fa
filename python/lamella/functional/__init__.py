# SPDX-License-Identifier: Apache-2.0
"""Functions on plain NumPy arrays, with torch's names and arguments; usable inside networks too.

>>> import numpy as np
>>> from lamella import functional as F
>>> F.relu(np.array([-1.0, 2.0], np.float32))
array([0., 2.], dtype=float32)

Arrays in, new array out; `out=` writes into an array of yours. float32, float64, int64, int32,
uint8, int8 and bool are computed with, and mix as in torch; float16 counts as float32, in which
results then are, as in networks. Either byte order and any strides will do; lists count as arrays,
pandas' and CPU tensors of torch too. Other element types raise DTypeError, or are cast where their
meaning is plain (integers of other widths are indices); masked elements raise UnsupportedError.
Inputs are never written to.
"""

from typing import TYPE_CHECKING

from lamella.functional import (
    activation,
    arithmetic,
    attention,
    bitwise,
    combined,
    comparison,
    creation,
    distance,
    elementary,
    indexing,
    information,
    order,
    padding,
    piecewise,
    products,
    quantization,
    random,
    rearranging,
    reduction,
    regression,
    selection,
    shape,
    similarity,
    units,
)
from lamella.functional import detach as detach_
from lamella.functional import dropout as dropout_
from lamella.functional import einsum as einsum_
from lamella.functional import linear as linear_
from lamella.functional import norm as norm_
from lamella.functional import softmax as softmax_
from lamella.functional.activation import *
from lamella.functional.arithmetic import *
from lamella.functional.attention import *
from lamella.functional.bitwise import *
from lamella.functional.combined import *
from lamella.functional.comparison import *
from lamella.functional.creation import *
from lamella.functional.detach import *
from lamella.functional.distance import *
from lamella.functional.dropout import *
from lamella.functional.einsum import *
from lamella.functional.elementary import *
from lamella.functional.indexing import *
from lamella.functional.information import *
from lamella.functional.linear import *
from lamella.functional.norm import *
from lamella.functional.order import *
from lamella.functional.padding import *
from lamella.functional.piecewise import *
from lamella.functional.products import *
from lamella.functional.quantization import *
from lamella.functional.random import *
from lamella.functional.rearranging import *
from lamella.functional.reduction import *
from lamella.functional.regression import *
from lamella.functional.selection import *
from lamella.functional.shape import *
from lamella.functional.similarity import *
from lamella.functional.softmax import *
from lamella.functional.units import *
from lamella.habits import settle, unknown
from lamella.runtime.function import add_methods

# A family whose name is also a function's has an underscore behind it here.
__all__: list[str] = []
__all__ += activation.__all__
__all__ += arithmetic.__all__
__all__ += attention.__all__
__all__ += bitwise.__all__
__all__ += combined.__all__
__all__ += comparison.__all__
__all__ += creation.__all__
__all__ += detach_.__all__
__all__ += distance.__all__
__all__ += dropout_.__all__
__all__ += einsum_.__all__
__all__ += elementary.__all__
__all__ += indexing.__all__
__all__ += information.__all__
__all__ += linear_.__all__
__all__ += norm_.__all__
__all__ += order.__all__
__all__ += padding.__all__
__all__ += piecewise.__all__
__all__ += products.__all__
__all__ += quantization.__all__
__all__ += random.__all__
__all__ += rearranging.__all__
__all__ += reduction.__all__
__all__ += regression.__all__
__all__ += selection.__all__
__all__ += shape.__all__
__all__ += similarity.__all__
__all__ += softmax_.__all__
__all__ += units.__all__

settle("functional", __all__)
# torch's tensors have these as methods: some families as a whole, and some of the others.
_METHODS = ("lamella.functional.arithmetic", "lamella.functional.bitwise",
            "lamella.functional.combined", "lamella.functional.comparison",
            "lamella.functional.detach", "lamella.functional.elementary",
            "lamella.functional.indexing", "lamella.functional.order",
            "lamella.functional.products", "lamella.functional.rearranging",
            "lamella.functional.selection")  # fmt: skip
add_methods([globals()[name] for name in __all__ if globals()[name].__module__ in _METHODS])
add_methods(
    [
        bernoulli,
        broadcast_to,
        dequantize,
        hardshrink,
        matmul,
        narrow,
        norm,
        prelu,
        select,
        unflatten,
    ]
)

if not TYPE_CHECKING:

    def __getattr__(name):
        raise unknown("module 'lamella.functional'", "functional", name)
