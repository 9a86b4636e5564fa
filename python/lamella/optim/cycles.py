# SPDX-License-Identifier: Apache-2.0
"""One cycle of the learning rate, up and down, and of momentum the other way.

Public as lr_scheduler.OneCycleLR; torch's names and rules.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from lamella.errors import message
from lamella.optim.optimizer import Optimizer
from lamella.optim.schedules import LRScheduler, for_each_group

__all__ = ["OneCycleLR"]


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
        rates = for_each_group(label, "max_lr", optimizer, max_lr)
        self.cycle_momentum = cycle_momentum
        self.use_beta1 = "betas" in optimizer.defaults
        if cycle_momentum and not self.use_beta1 and "momentum" not in optimizer.defaults:
            raise ValueError(
                message(label, "cycle_momentum needs an optimiser with momentum or betas")
            )
        low = for_each_group(label, "base_momentum", optimizer, base_momentum)
        high = for_each_group(label, "max_momentum", optimizer, max_momentum)
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
