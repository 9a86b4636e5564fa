# SPDX-License-Identifier: Apache-2.0
"""The schedule that judges: a lower learning rate where a metric no longer improves.

Public as lr_scheduler.ReduceLROnPlateau; torch's names and rules.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, SupportsFloat

from lamella.errors import message
from lamella.optim.optimizer import Optimizer
from lamella.optim.schedules import LRScheduler, for_each_group

__all__ = ["ReduceLROnPlateau"]


class ReduceLROnPlateau(LRScheduler):
    """lr times factor when a metric has not improved for more than `patience` steps.

    Parameters: optimizer; mode, "min" or "max"; factor < 1; patience; threshold, of what counts as
    better, relative or absolute by threshold_mode ("rel", "abs"); cooldown, steps after a change
    that do not count; min_lr, a number or one for each group; eps, the least change made.
    Raises: TypeError, ValueError.
    Source: torch.optim.lr_scheduler.ReduceLROnPlateau.

    >>> from lamella import nn, optim
    >>> optimizer = optim.SGD([nn.Parameter([1.0])], lr=1.0)
    >>> scheduler = optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    >>> for loss in (3.0, 2.0, 2.0, 2.0):
    ...     scheduler.step(loss)
    >>> scheduler.get_last_lr()
    [0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0,
        eps: float = 1e-8,
    ) -> None:
        label = "ReduceLROnPlateau"
        if not isinstance(optimizer, Optimizer):
            raise TypeError(message(label, "no optimiser", {"optimizer": type(optimizer).__name__}))
        if factor >= 1:
            raise ValueError(message(label, "would not reduce", {"factor": factor}, "< 1"))
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise ValueError(
                message(
                    label,
                    "unknown mode",
                    {"mode": mode, "threshold_mode": threshold_mode},
                    "'min' or 'max', 'rel' or 'abs'",
                )
            )
        self.optimizer = optimizer
        self.factor = factor
        self.min_lrs = for_each_group(label, "min_lr", optimizer, min_lr)
        self.default_min_lr = None if isinstance(min_lr, Sequence) else min_lr
        self.patience = patience
        self.cooldown = cooldown
        self.eps = eps
        self.last_epoch = 0
        self.mode = mode
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.mode_worse = math.inf if mode == "min" else -math.inf
        self.best = self.mode_worse
        self.cooldown_counter = 0
        self.num_bad_epochs = 0
        self._last_lr = self._rates()

    def step(self, metrics: SupportsFloat) -> None:  # type: ignore[override]
        """Judges one value of the metric."""
        current = float(metrics)
        self.last_epoch += 1
        if self._is_better(current, self.best):
            self.best = current
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0
        self._last_lr = self._rates()

    @property
    def in_cooldown(self) -> bool:
        """Whether a change was made so lately that bad steps do not count."""
        return self.cooldown_counter > 0

    def _reduce(self) -> None:
        groups = self.optimizer.param_groups
        if len(groups) != len(self.min_lrs):
            if self.default_min_lr is None:
                raise RuntimeError(
                    message(
                        "ReduceLROnPlateau",
                        "groups were added",
                        {"min_lrs": len(self.min_lrs)},
                        f"{len(groups)} in the attribute min_lrs",
                    )
                )
            self.min_lrs = [self.default_min_lr] * len(groups)
        for group, least in zip(groups, self.min_lrs, strict=True):
            before = float(group["lr"])
            after = max(before * self.factor, least)
            if before - after > self.eps:
                group["lr"] = after

    def _is_better(self, value: float, best: float) -> bool:
        if self.mode == "min":
            relative = self.threshold_mode == "rel"
            return value < (best * (1.0 - self.threshold) if relative else best - self.threshold)
        if self.threshold_mode == "rel":
            return value > best * (self.threshold + 1.0)
        return value > best + self.threshold
