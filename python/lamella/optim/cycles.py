# SPDX-License-Identifier: Apache-2.0
"""The schedules of the learning rate that need more than a formula: one cycle, and plateaus.

Public as lr_scheduler.OneCycleLR and lr_scheduler.ReduceLROnPlateau; torch's names and rules.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, SupportsFloat

from lamella.errors import message
from lamella.optim.optimizer import Optimizer
from lamella.optim.schedules import LRScheduler

__all__ = ["OneCycleLR", "ReduceLROnPlateau"]


def _for_each(
    label: str, name: str, optimizer: Optimizer, value: float | Sequence[float]
) -> list[float]:
    """One value for each group."""
    groups = len(optimizer.param_groups)
    if not isinstance(value, Sequence):
        return [value] * groups
    if len(value) != groups:
        raise ValueError(
            message(label, f"one {name} for each group", {name: len(value)}, str(groups))
        )
    return list(value)


class OneCycleLR(LRScheduler):
    """Up to max_lr and down far below the start, within total_steps; momentum the other way.

    lr begins at max_lr / div_factor and ends at that / final_div_factor; three_phase comes back to
    the start first and falls then. momentum (beta1 of Adam) goes from max_momentum to
    base_momentum and back.

    Parameters: optimizer; max_lr, a number or one for each group; total_steps, or epochs and
    steps_per_epoch; pct_start in [0, 1], the rising part; anneal_strategy, "cos" or "linear";
    cycle_momentum, base_momentum, max_momentum; div_factor, final_div_factor; three_phase;
    last_epoch.
    Raises: ValueError; in `step`, beyond total_steps.
    Source: torch.optim.lr_scheduler.OneCycleLR; Smith and Topin, "Super-Convergence", 2018.

    >>> from lamella import nn, optim
    >>> optimizer = optim.SGD([nn.Parameter([1.0])], lr=0.1, momentum=0.9)
    >>> scheduler = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=10)
    >>> [round(rate, 6) for rate in scheduler.get_last_lr()]
    [0.04]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        label = "OneCycleLR"
        if not isinstance(optimizer, Optimizer):
            raise TypeError(message(label, "no optimiser", {"optimizer": type(optimizer).__name__}))
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError(
                    message(label, "no length", None, "total_steps, or epochs and steps_per_epoch")
                )
            total_steps = epochs * steps_per_epoch
        if total_steps <= 0:
            raise ValueError(message(label, "no steps", {"total_steps": total_steps}, "> 0"))
        if not 0 <= pct_start <= 1:
            raise ValueError(message(label, "no share", {"pct_start": pct_start}, "[0, 1]"))
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                message(label, "unknown", {"anneal_strategy": anneal_strategy}, "'cos' or 'linear'")
            )
        self.total_steps = total_steps
        self._anneal_func_type = anneal_strategy
        self._schedule_phases = self._phases(pct_start, three_phase)
        rates = _for_each(label, "max_lr", optimizer, max_lr)
        self.cycle_momentum = cycle_momentum
        self.use_beta1 = "betas" in optimizer.defaults
        if cycle_momentum and not self.use_beta1 and "momentum" not in optimizer.defaults:
            raise ValueError(
                message(label, "cycle_momentum needs an optimiser with momentum or betas")
            )
        low = _for_each(label, "base_momentum", optimizer, base_momentum)
        high = _for_each(label, "max_momentum", optimizer, max_momentum)
        if last_epoch == -1:
            for number, group in enumerate(optimizer.param_groups):
                start = rates[number] / div_factor
                group.update(
                    initial_lr=start, max_lr=rates[number], min_lr=start / final_div_factor
                )
                if cycle_momentum:
                    group.update(max_momentum=high[number], base_momentum=low[number])
                    self._set_momentum(group, high[number])
        super().__init__(optimizer, last_epoch)

    def _phases(self, pct_start: float, three_phase: bool) -> list[dict[str, Any]]:
        names = ["initial_lr", "max_lr", "min_lr"]
        momenta = ["max_momentum", "base_momentum", "max_momentum"]
        ends = [float(pct_start * self.total_steps) - 1, self.total_steps - 1]
        if three_phase:
            names.insert(2, "initial_lr")
            momenta.append("max_momentum")
            ends.insert(1, float(2 * pct_start * self.total_steps) - 2)
        return [
            {
                "end_step": end,
                "start_lr": names[number],
                "end_lr": names[number + 1],
                "start_momentum": momenta[number],
                "end_momentum": momenta[number + 1],
            }
            for number, end in enumerate(ends)
        ]

    def _set_momentum(self, group: Any, momentum: float) -> None:
        if self.use_beta1:
            group["betas"] = (momentum, *group["betas"][1:])
        else:
            group["momentum"] = momentum

    def _anneal(self, start: float, end: float, share: float) -> float:
        if self._anneal_func_type == "linear":
            return (end - start) * share + start
        return end + (start - end) / 2.0 * (math.cos(math.pi * share) + 1)

    def get_lr(self) -> list[float]:
        """The learning rates of the step `last_epoch`; assigns the momenta."""
        if self.last_epoch > self.total_steps:
            raise ValueError(
                message(
                    "OneCycleLR",
                    "the cycle is over",
                    {"step": self.last_epoch},
                    f"at most {self.total_steps}",
                )
            )
        begin = 0.0
        for phase in self._schedule_phases:
            if self.last_epoch <= phase["end_step"] or phase is self._schedule_phases[-1]:
                break
            begin = phase["end_step"]
        share = (self.last_epoch - begin) / (phase["end_step"] - begin)
        rates = []
        for group in self.optimizer.param_groups:
            rates.append(self._anneal(group[phase["start_lr"]], group[phase["end_lr"]], share))
            if self.cycle_momentum:
                ends = group[phase["start_momentum"]], group[phase["end_momentum"]]
                self._set_momentum(group, self._anneal(*ends, share))
        return rates


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
        self.min_lrs = _for_each(label, "min_lr", optimizer, min_lr)
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
