# SPDX-License-Identifier: Apache-2.0
"""Schedules of the learning rate: torch's names, arguments, recurrences and state dictionaries.

A scheduler assigns to `group["lr"]` of its optimiser's groups; programs see it in their next run.
`step()` is called after the optimiser's steps, and rates follow from the rates before, as in torch,
so that schedules can be chained; each has the closed form too where torch has. Left out: the
deprecated `epoch` argument of `step`.
"""

from __future__ import annotations

import math
import types
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from lamella.errors import message
from lamella.optim import group as groups
from lamella.optim.optimizer import Optimizer

__all__ = [
    "ConstantLR",
    "CosineAnnealingLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "SequentialLR",
    "StepLR",
    "for_each_group",
]


def _positive(label: str, name: str, value: Any) -> Any:
    """The value, or an error before training begins: torch divides by zero after its first step."""
    if not groups.number(label, name, value) > 0:
        raise ValueError(message(label, "no steps", {name: value}, f"{name} > 0"))
    return value


def for_each_group(
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


def _factor(label: str, gamma: Any) -> Any:
    if not groups.number(label, "gamma", gamma) >= 0:
        raise ValueError(message(label, "no factor", {"gamma": gamma}, "gamma >= 0"))
    return gamma


class LRScheduler:
    """Base class: calls `get_lr` at every step and assigns what it gives.

    Parameters: optimizer, whose groups are scheduled; last_epoch, how many steps have been made, -1
    to begin.
    Raises: TypeError; KeyError when resuming without `initial_lr` in the groups.
    Source: torch.optim.lr_scheduler.LRScheduler.
    """

    _is_initial = False

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        label = type(self).__name__
        if not isinstance(optimizer, Optimizer):
            raise TypeError(message(label, "no optimiser", {"optimizer": type(optimizer).__name__}))
        self.optimizer = optimizer
        for number, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(
                    message(label, "resumed without initial_lr", {"group": number}, "initial_lr")
                )
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._initial_step()

    def _initial_step(self) -> None:
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser, by torch's names."""
        return {key: value for key, value in self.__dict__.items() if key != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over what `state_dict` gave."""
        self.__dict__.update(state_dict)

    def get_last_lr(self) -> list[float]:
        """The learning rate of each group, as the last step left it."""
        return self._last_lr

    def get_lr(self) -> list[float]:
        """The learning rates of the step `last_epoch`, from those before it."""
        raise NotImplementedError

    def step(self) -> None:
        """Goes on by one step."""
        self._step_count += 1
        self._update_lr()

    def _update_lr(self, epoch: int | None = None) -> None:
        """Assigns the rates of the next step, or of step `epoch` by the closed form."""
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        values = self.get_lr() if epoch is None else self._closed_form()
        for group, lr in zip(self.optimizer.param_groups, values, strict=True):
            group["lr"] = lr
        self._last_lr = self._rates()

    def _closed_form(self) -> list[float]:
        return self.get_lr()

    def _rates(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def _scaled(self, factor: float) -> list[float]:
        return [group["lr"] * factor for group in self.optimizer.param_groups]


class LambdaLR(LRScheduler):
    """lr = initial lr times a function of the step.

    Parameters: optimizer; lr_lambda, a function of last_epoch, or one for each group; last_epoch.
    Raises: ValueError for a wrong number of functions.
    Source: torch.optim.lr_scheduler.LambdaLR.

    >>> from lamella import nn, optim
    >>> optimizer = optim.SGD([nn.Parameter([1.0])], lr=0.5)
    >>> scheduler = optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1 / (1 + epoch))
    >>> scheduler.step()
    >>> optimizer.param_groups[0]["lr"]
    0.25
    """

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        groups = len(optimizer.param_groups)
        functions = list(lr_lambda) if isinstance(lr_lambda, list | tuple) else [lr_lambda] * groups
        if len(functions) != groups:
            raise ValueError(
                message("LambdaLR", "one function for each group", {"lr_lambda": len(functions)})
            )
        self.lr_lambdas: list[Any] = functions
        super().__init__(optimizer, last_epoch)

    def state_dict(self) -> dict[str, Any]:
        """As the base's; of the functions only the attributes of callable objects."""
        state = super().state_dict()
        state["lr_lambdas"] = [
            None if isinstance(function, types.FunctionType) else function.__dict__.copy()
            for function in self.lr_lambdas
        ]
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over what `state_dict` gave; plain functions stay as they are."""
        rest = {key: value for key, value in state_dict.items() if key != "lr_lambdas"}
        super().load_state_dict(rest)
        for function, attributes in zip(self.lr_lambdas, state_dict["lr_lambdas"], strict=True):
            if attributes is not None:
                function.__dict__.update(attributes)

    def get_lr(self) -> list[float]:
        """The learning rates of the step `last_epoch`."""
        return [
            base * function(self.last_epoch)
            for function, base in zip(self.lr_lambdas, self.base_lrs, strict=True)
        ]


class StepLR(LRScheduler):
    """lr times gamma every step_size steps.

    Parameters: optimizer; step_size > 0; gamma >= 0; last_epoch. Raises: TypeError, ValueError.
    Source: torch.optim.lr_scheduler.StepLR.

    >>> from lamella import nn, optim
    >>> optimizer = optim.SGD([nn.Parameter([1.0])], lr=0.5)
    >>> scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
    >>> scheduler.step(), scheduler.step(), scheduler.get_last_lr()
    (None, None, [0.25])
    """

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.step_size = _positive("StepLR", "step_size", step_size)
        self.gamma = _factor("StepLR", gamma)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The learning rates of the step `last_epoch`, from those before it."""
        if self.last_epoch == 0 or self.last_epoch % self.step_size != 0:
            return self._rates()
        return self._scaled(self.gamma)

    def _closed_form(self) -> list[float]:
        factor = self.gamma ** (self.last_epoch // self.step_size)
        return [base * factor for base in self.base_lrs]


class MultiStepLR(LRScheduler):
    """lr times gamma at each milestone; a milestone named twice counts twice.

    Parameters: optimizer; milestones, numbers of steps; gamma >= 0; last_epoch.
    Raises: TypeError, ValueError.
    Source: torch.optim.lr_scheduler.MultiStepLR.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Iterable[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        self.milestones = Counter(milestones)
        for milestone in self.milestones:
            if not hasattr(milestone, "__index__"):
                got = {"milestones": repr(milestone)}
                raise TypeError(message("MultiStepLR", "not a number of steps", got, "int"))
        self.gamma = _factor("MultiStepLR", gamma)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The learning rates of the step `last_epoch`, from those before it."""
        if self.last_epoch not in self.milestones:
            return self._rates()
        return self._scaled(self.gamma ** self.milestones[self.last_epoch])

    def _closed_form(self) -> list[float]:
        passed = bisect_right(sorted(self.milestones.elements()), self.last_epoch)
        return [base * self.gamma**passed for base in self.base_lrs]


class ConstantLR(LRScheduler):
    """lr times factor during the first total_iters steps.

    Parameters: optimizer; factor in [0, 1]; total_iters; last_epoch.
    Raises: ValueError.
    Source: torch.optim.lr_scheduler.ConstantLR.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 1.0 / 3,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0 <= factor <= 1:
            raise ValueError(message("ConstantLR", "factor", {"factor": factor}, "[0, 1]"))
        self.factor = factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The learning rates of the step `last_epoch`, from those before it."""
        if self.last_epoch == 0:
            return self._scaled(self.factor)
        if self.last_epoch != self.total_iters:
            return self._rates()
        return self._scaled(1.0 / self.factor)

    def _closed_form(self) -> list[float]:
        factor = self.factor + (self.last_epoch >= self.total_iters) * (1 - self.factor)
        return [base * factor for base in self.base_lrs]


class LinearLR(LRScheduler):
    """lr times a factor that goes from start_factor to end_factor in total_iters steps.

    Parameters: optimizer; start_factor in (0, 1]; end_factor in [0, 1]; total_iters; last_epoch.
    Raises: ValueError.
    Source: torch.optim.lr_scheduler.LinearLR.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0 < start_factor <= 1 or not 0 <= end_factor <= 1:
            raise ValueError(
                message(
                    "LinearLR",
                    "factors out of range",
                    {"start_factor": start_factor, "end_factor": end_factor},
                    "0 < start_factor <= 1, 0 <= end_factor <= 1",
                )
            )
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The learning rates of the step `last_epoch`, from those before it."""
        if self.last_epoch == 0:
            return self._scaled(self.start_factor)
        if self._is_initial or self.last_epoch > self.total_iters:
            return self._rates()
        change = self.end_factor - self.start_factor
        before = self.total_iters * self.start_factor + (self.last_epoch - 1) * change
        return self._scaled(1.0 + change / before)

    def _closed_form(self) -> list[float]:
        change = self.end_factor - self.start_factor
        passed = min(self.total_iters, self.last_epoch)
        return [
            base * (self.start_factor + change * passed / self.total_iters)
            for base in self.base_lrs
        ]


class ExponentialLR(LRScheduler):
    """lr times gamma at every step.

    Parameters: optimizer; gamma >= 0; last_epoch. Raises: TypeError, ValueError.
    Source: torch.optim.lr_scheduler.ExponentialLR.
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = _factor("ExponentialLR", gamma)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The learning rates of the step `last_epoch`, from those before it."""
        return self._rates() if self._is_initial else self._scaled(self.gamma)

    def _closed_form(self) -> list[float]:
        return [base * self.gamma**self.last_epoch for base in self.base_lrs]


class CosineAnnealingLR(LRScheduler):
    """lr from its initial value to eta_min along half a cosine of T_max steps, and back.

    Parameters: optimizer; T_max > 0; eta_min; last_epoch. Raises: TypeError, ValueError.
    Source: torch.optim.lr_scheduler.CosineAnnealingLR; Loshchilov and Hutter, "SGDR", 2017.
    """

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        self.T_max = _positive("CosineAnnealingLR", "T_max", T_max)
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The learning rates of the step `last_epoch`, from those before it."""
        if self._is_initial:
            return self._rates()
        if self._step_count == 1 and self.last_epoch > 0:
            return self._closed_form()
        if (self.last_epoch - 1 - self.T_max) % (2 * self.T_max) == 0:
            rise = 1 - math.cos(math.pi / self.T_max)
            return [
                lr + (base - self.eta_min) * rise / 2
                for base, lr in zip(self.base_lrs, self._rates(), strict=True)
            ]
        now = 1 + math.cos(math.pi * self.last_epoch / self.T_max)
        before = 1 + math.cos(math.pi * (self.last_epoch - 1) / self.T_max)
        return [now / before * (lr - self.eta_min) + self.eta_min for lr in self._rates()]

    def _closed_form(self) -> list[float]:
        height = 1 + math.cos(math.pi * self.last_epoch / self.T_max)
        return [self.eta_min + (base - self.eta_min) * height / 2 for base in self.base_lrs]


class SequentialLR(LRScheduler):
    """One scheduler after the other, changing at the milestones.

    Parameters: optimizer; schedulers, of that optimiser; milestones, one fewer; last_epoch.
    Raises: ValueError.
    Source: torch.optim.lr_scheduler.SequentialLR.

    >>> from lamella import nn, optim
    >>> from lamella.optim.lr_scheduler import ConstantLR, ExponentialLR, SequentialLR
    >>> optimizer = optim.SGD([nn.Parameter([1.0])], lr=1.0)
    >>> parts = [ConstantLR(optimizer, 0.5, 2), ExponentialLR(optimizer, 0.5)]
    >>> scheduler, rates = SequentialLR(optimizer, parts, milestones=[2]), []
    >>> for _ in range(4):
    ...     rates += scheduler.get_last_lr()
    ...     scheduler.step()
    >>> rates
    [0.5, 0.5, 1.0, 0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[Any],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:
        if not schedulers or len(milestones) != len(schedulers) - 1:
            raise ValueError(
                message(
                    "SequentialLR",
                    "one milestone between two schedulers",
                    {"schedulers": len(schedulers), "milestones": len(milestones)},
                )
            )
        for scheduler in schedulers:
            if not isinstance(scheduler, LRScheduler) or scheduler.optimizer is not optimizer:
                raise ValueError(
                    message(
                        "SequentialLR",
                        "not a scheduler of this optimiser that steps without a metric",
                        {"schedulers": type(scheduler).__name__},
                    )
                )
        self._schedulers = list(schedulers)
        self._milestones = list(milestones)
        self.last_epoch = last_epoch + 1
        self.optimizer = optimizer
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        self._undo()
        first = self._schedulers[bisect_right(self._milestones, 0)]
        first._initial_step()
        self._last_lr = first.get_last_lr()

    def _undo(self) -> None:
        """Takes back the first step that each scheduler made when it was constructed."""
        for scheduler in self._schedulers:
            if isinstance(scheduler, SequentialLR):
                scheduler._undo()
            else:
                scheduler.last_epoch -= 1

    def step(self) -> None:
        """Goes on by one step."""
        self.last_epoch += 1
        number = bisect_right(self._milestones, self.last_epoch)
        scheduler = self._schedulers[number]
        if number > 0 and self._milestones[number - 1] == self.last_epoch:
            scheduler._update_lr(0)
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        """As the base's, with the state of each scheduler."""
        state = super().state_dict()
        state["_schedulers"] = [scheduler.state_dict() for scheduler in self._schedulers]
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over what `state_dict` gave."""
        rest = {key: value for key, value in state_dict.items() if key != "_schedulers"}
        super().load_state_dict(rest)
        for scheduler, state in zip(self._schedulers, state_dict["_schedulers"], strict=True):
            scheduler.load_state_dict(state)
