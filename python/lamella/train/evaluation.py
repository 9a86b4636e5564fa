# SPDX-License-Identifier: Apache-2.0
"""Evaluation: loss and metrics of data that is not trained on, net in inference mode.

Forward and loss of a batch are one program. The net's mode is the caller's to restore.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lamella.nn.module import Module
from lamella.train.data import Arrays, Stream, mean_loss
from lamella.train.metrics import Metric
from lamella.train.objective import batch_loss

__all__ = ["Evaluation"]


class Evaluation(Module):
    """Called with x, y and weights of a batch: (loss, output); `over` takes whole data."""

    def __init__(self, net: Module, loss: Any, metrics: Sequence[Metric]) -> None:
        super().__init__()
        self.net = net
        self.loss = loss
        self.metrics = list(metrics)

    def forward(self, x: Any, y: Any, weight: Any) -> Any:
        """The loss of a batch, and what the net gave."""
        if isinstance(x, Mapping):
            output = self.net(**x)
        else:
            output = self.net(*x) if isinstance(x, tuple | list) else self.net(x)
        return batch_loss(self.loss, output, y, weight), output

    def over(self, data: Arrays | Stream) -> dict[str, float]:
        """The loss and every metric over all batches of `data`, by name."""
        if self.net.training:
            self.net.eval()
        for metric in self.metrics:
            metric.reset()
        losses = []
        for x, y, weight in data.epoch(0):
            loss, output = self(x, y, weight)
            losses.append(float(loss))
            for metric in self.metrics:
                metric.update(y, output)
        values = {"loss": mean_loss(self.loss, losses, data)}
        return values | {metric.name: metric.result() for metric in self.metrics}
