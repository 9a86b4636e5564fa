# SPDX-License-Identifier: Apache-2.0
"""Layers, containers and models, with torch.nn's classes, arguments, names and layouts.

>>> import numpy as np
>>> from lamella import nn
>>> nn.Sequential(nn.Linear(784, 128), nn.ReLU())(np.zeros((1, 784), np.float32)).shape
(1, 128)

A model's forward runs once per input signature, on symbolic tensors; each call afterwards is one
native program.
"""

import sys
from typing import TYPE_CHECKING

from lamella import functional
from lamella.habits import settle, unknown
from lamella.nn import (
    activation,
    container,
    dropout,
    embedding,
    init,
    linear,
    loss,
    norm,
    parameter,
    softmax,
    units,
)
from lamella.nn.activation import *
from lamella.nn.container import *
from lamella.nn.dropout import *
from lamella.nn.embedding import *
from lamella.nn.linear import *
from lamella.nn.loss import *
from lamella.nn.module import Module
from lamella.nn.norm import *
from lamella.nn.parameter import Buffer, Parameter
from lamella.nn.softmax import *
from lamella.nn.units import *

__all__ = ["Buffer", "Module", "Parameter", "functional", "init", "parameter"]
__all__ += activation.__all__
__all__ += container.__all__
__all__ += dropout.__all__
__all__ += embedding.__all__
__all__ += linear.__all__
__all__ += loss.__all__
__all__ += norm.__all__
__all__ += softmax.__all__
__all__ += units.__all__

settle("nn", __all__)
# `import lamella.nn.functional as F`, as one writes it for torch.
sys.modules[f"{__name__}.functional"] = functional

if not TYPE_CHECKING:

    def __getattr__(name):
        raise unknown("module 'lamella.nn'", "nn", name)
