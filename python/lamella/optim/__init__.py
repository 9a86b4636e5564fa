# SPDX-License-Identifier: Apache-2.0
"""Optimisers and schedules of learning rates: torch.optim's names, arguments and formulas.

Updates are ops with native kernels. In a training step they are part of the same program as
forward and backward; `step(gradients)` runs them alone.
"""

from typing import TYPE_CHECKING

from lamella.habits import settle, unknown
from lamella.optim import lr_scheduler
from lamella.optim.clipping import clip_norm, clip_value
from lamella.optim.optimizer import Optimizer
from lamella.optim.rules import SGD, Adagrad, Adam, AdamW, RMSprop

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Optimizer",
    "RMSprop",
    "clip_norm",
    "clip_value",
    "lr_scheduler",
]

settle("optim", __all__)

if not TYPE_CHECKING:

    def __getattr__(name):
        raise unknown("module 'lamella.optim'", "optim", name)
