# SPDX-License-Identifier: Apache-2.0
"""Evaluation: loss and metrics of data that is not trained on, net in inference mode.

Forward and loss of a batch are one program. Of all batches together, sums are divided by masses:
how the data were cut does not show. The net's mode is the caller's to restore. What forward draws
follows from the step's seed and the epoch: training draws the same with and without validation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lamella.nn.module import Module
from lamella.nn.parameter import Buffer
from lamella.runtime.trace import current
from lamella.train.data import Arrays, Stream
from lamella.train.metrics import Metric
from lamella.train.objective import objective

__all__ = ["Evaluation", "whole_loss"]

_KEY = 0x5DEECE66D


def whole_loss(losses: Sequence[float], masses: Sequence[float]) -> float:
    """The loss of all batches together, from the loss and the mass of each.

        sum(loss * mass) / sum(mass), or sum(loss) where nothing is divided: the masses are NaN

    A batch without mass adds nothing; the loss of no mass at all is NaN.

    >>> from lamella.train.evaluation import whole_loss
    >>> whole_loss([1.0, 0.0, 4.0], [4.0, 0.0, 2.0])
    2.0
    """
    loss, mass = np.array(losses, np.float64), np.array(masses, np.float64)
    if np.isnan(mass).any():
        return float(loss.sum())
    total = mass.sum()
    return float((loss * mass).sum() / total) if total else float("nan")


class Evaluation(Module):
    """Called with x, y and weights of a batch: (loss, output, mass); `over` takes whole data."""

    random: Any

    def __init__(self, net: Module, loss: Any, metrics: Sequence[Metric]) -> None:
        super().__init__()
        self.net = net
        self.loss = loss
        self.metrics = list(metrics)
        self.register_buffer("random", Buffer(np.zeros(2, np.int64)))

    def forward(self, x: Any, y: Any, weight: Any) -> Any:
        """The loss of a batch, what the net gave, and the mass of the loss."""
        current().builder.random = self.random
        if isinstance(x, Mapping):
            output = self.net(**x)
        else:
            output = self.net(*x) if isinstance(x, tuple | list) else self.net(x)
        found = objective(self.loss, x, output, y, weight)
        return found.loss, output, found.measure(current())

    def over(self, data: Arrays | Stream, seed: int = 0, epoch: int = 0) -> dict[str, float]:
        """The loss and every metric over all batches of `data`, by name."""
        # Another key than the step's; epochs lie more batches apart than there are.
        self.random.data = np.array([seed ^ _KEY, epoch << 24], np.int64)
        if self.net.training:
            self.net.eval()
        for metric in self.metrics:
            metric.reset()
        losses, masses = [], []
        for x, y, weight in data.epoch(0):
            loss, output, mass = self(x, y, weight)
            losses.append(float(loss))
            masses.append(float(mass))
            for metric in self.metrics:
                metric.update(y, output)
        values = {"loss": whole_loss(losses, masses)}
        return values | {metric.name: metric.result() for metric in self.metrics}
