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
from lamella.nn import init, parameter
from lamella.nn.activation import (
    CELU,
    ELU,
    GELU,
    SELU,
    Hardshrink,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    LeakyReLU,
    LogSigmoid,
    Mish,
    PReLU,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softplus,
    Softshrink,
    Softsign,
    Tanh,
    Tanhshrink,
    Threshold,
)
from lamella.nn.container import ModuleDict, ModuleList, ParameterList, Sequential
from lamella.nn.dropout import Dropout
from lamella.nn.embedding import Embedding
from lamella.nn.linear import Bilinear, Flatten, Identity, Linear, Unflatten
from lamella.nn.loss import (
    BCELoss,
    BCEWithLogitsLoss,
    CosineEmbeddingLoss,
    CosineSimilarity,
    CrossEntropyLoss,
    GaussianNLLLoss,
    HingeEmbeddingLoss,
    HuberLoss,
    KLDivLoss,
    L1Loss,
    MSELoss,
    NLLLoss,
    PoissonNLLLoss,
    SmoothL1Loss,
)
from lamella.nn.module import Module
from lamella.nn.norm import BatchNorm1d, LayerNorm, RMSNorm
from lamella.nn.parameter import Buffer, Parameter
from lamella.nn.softmax import GLU, LogSoftmax, Maxout, Softmax, Softmin

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "GLU",
    "SELU",
    "BCELoss",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "Bilinear",
    "Buffer",
    "CosineEmbeddingLoss",
    "CosineSimilarity",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "Flatten",
    "GaussianNLLLoss",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "HingeEmbeddingLoss",
    "HuberLoss",
    "Identity",
    "KLDivLoss",
    "L1Loss",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSigmoid",
    "LogSoftmax",
    "MSELoss",
    "Maxout",
    "Mish",
    "Module",
    "ModuleDict",
    "ModuleList",
    "NLLLoss",
    "PReLU",
    "Parameter",
    "ParameterList",
    "PoissonNLLLoss",
    "RMSNorm",
    "ReLU",
    "ReLU6",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SmoothL1Loss",
    "Softmax",
    "Softmin",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanh",
    "Tanhshrink",
    "Threshold",
    "Unflatten",
    "functional",
    "init",
    "parameter",
]

settle("nn", __all__)
# `import lamella.nn.functional as F`, as one writes it for torch.
sys.modules[f"{__name__}.functional"] = functional

if not TYPE_CHECKING:

    def __getattr__(name):
        raise unknown("module 'lamella.nn'", "nn", name)
