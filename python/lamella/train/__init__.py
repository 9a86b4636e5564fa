# SPDX-License-Identifier: Apache-2.0
"""Training: one native call from a batch to updated parameters, and the loop around it."""

from lamella.train.callbacks import (
    Callback,
    CSVLogger,
    EarlyStopping,
    JSONLogger,
    LRScheduler,
    ModelCheckpoint,
    PlotCurves,
)
from lamella.train.fit import fit
from lamella.train.gradients import GradientFunction, gradients
from lamella.train.history import History
from lamella.train.loop import Fit
from lamella.train.memory import Memory
from lamella.train.metrics import (
    F1,
    Accuracy,
    Collected,
    MeanAbsoluteError,
    MeanSquaredError,
    Metric,
    Precision,
    R2Score,
    Recall,
    TopKAccuracy,
)
from lamella.train.profile import StepProfile
from lamella.train.step import TrainStep

__all__ = [
    "F1",
    "Accuracy",
    "CSVLogger",
    "Callback",
    "Collected",
    "EarlyStopping",
    "Fit",
    "GradientFunction",
    "History",
    "JSONLogger",
    "LRScheduler",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Memory",
    "Metric",
    "ModelCheckpoint",
    "PlotCurves",
    "Precision",
    "R2Score",
    "Recall",
    "StepProfile",
    "TopKAccuracy",
    "TrainStep",
    "fit",
    "gradients",
]
