# SPDX-License-Identifier: Apache-2.0
"""torch.optim.lr_scheduler's names: schedules of the learning rate.

Formulas are in schedules.py; one cycle and plateaus, which keep more state, in files of their own.
"""

from lamella.optim.cycles import OneCycleLR
from lamella.optim.plateau import ReduceLROnPlateau
from lamella.optim.schedules import (
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    SequentialLR,
    StepLR,
)

__all__ = [
    "ConstantLR",
    "CosineAnnealingLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]
