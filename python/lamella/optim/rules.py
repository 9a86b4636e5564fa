# SPDX-License-Identifier: Apache-2.0
"""SGD, Adam, AdamW, RMSprop and Adagrad: torch's names, arguments, defaults and formulas.

Each class says which options it has, which it refuses, and what is compiled for them; the formulas
are ops/optimizer.py's. `foreach` and `fused` choose among torch's implementations; they are kept
for state dictionaries and mean nothing here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lamella.errors import message
from lamella.ops.optimizer import AdagradUpdate, AdamUpdate, RmsPropUpdate, SgdUpdate
from lamella.optim.group import Group, GroupPlan, number
from lamella.optim.optimizer import Optimizer, refuse

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "RMSprop"]


def _require(label: str, options: Mapping[str, Any], *names: str) -> None:
    """Raises TypeError, ValueError unless these options are numbers from 0 on."""
    refuse(label, options)
    for name in names:
        number(label, name, options[name])
        if not options[name] >= 0.0:
            raise ValueError(message(label, f"{name} is negative", {name: options[name]}, ">= 0"))


class SGD(Optimizer):
    """Gradient descent with momentum.

    b' = momentum b + (1 - dampening) g, in the first step b' = g; p' = p - lr b', with nesterov
    p' = p - lr (g + momentum b'); g is the gradient + weight_decay p, negated by maximize first.

    Parameters: params, what to optimise; lr, momentum, dampening, weight_decay >= 0; nesterov,
    which needs momentum and no dampening; maximize, whether to climb.
    Raises: ValueError.
    Source: torch.optim.SGD; Sutskever et al., 2013.

    >>> import numpy as np
    >>> from lamella import nn, optim
    >>> p = nn.Parameter([1.0])
    >>> optimizer = optim.SGD([p], lr=0.1, momentum=0.9)
    >>> for _ in range(2):
    ...     optimizer.step([np.ones(1, np.float32)])
    >>> p.data
    array([0.71], dtype=float32)
    """

    state_names = ("momentum_buffer",)
    saves_step = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
                "foreach": foreach,
                "differentiable": differentiable,
                "fused": fused,
            },
        )

    @staticmethod
    def judge(options: Mapping[str, Any]) -> None:
        """Raises ValueError for options out of range."""
        _require("SGD", options, "lr", "momentum", "weight_decay")
        if options["nesterov"] and (options["momentum"] <= 0 or options["dampening"] != 0):
            raise ValueError(
                message(
                    "SGD",
                    "nesterov needs momentum and no dampening",
                    {"momentum": options["momentum"], "dampening": options["dampening"]},
                    "momentum > 0, dampening == 0",
                )
            )

    @staticmethod
    def describe(options: Mapping[str, Any]) -> GroupPlan:
        """What programs are compiled for under these options."""
        momentum = options["momentum"] != 0
        return GroupPlan("sgd", SgdUpdate(momentum, momentum and options["nesterov"]), momentum)

    def initial(self, name: str, group: Group) -> float:
        """Minus zero, which leaves every first gradient as it is, even another minus zero."""
        return -0.0


class Adam(Optimizer):
    """Steps scaled by running moments of the gradient.

    m' = m + (1 - beta1) (g - m), v' = beta2 v + (1 - beta2) g^2,
    p' = p - lr / (1 - beta1^t) m' / (sqrt(v') / sqrt(1 - beta2^t) + eps) in step t; g is the
    gradient + weight_decay p, negated by maximize first.

    Parameters: params, what to optimise; lr, eps, weight_decay >= 0; betas, two numbers in [0, 1);
    amsgrad, whether the largest v' so far is divided by; maximize, whether to climb;
    decoupled_weight_decay, AdamW's way.
    Raises: ValueError.
    Source: torch.optim.Adam; Kingma and Ba, 2015; Reddi, Kale and Kumar, 2018.

    >>> import numpy as np
    >>> from lamella import nn, optim
    >>> p = nn.Parameter([1.0, 2.0])
    >>> optimizer = optim.Adam([p], lr=0.1)
    >>> optimizer.step([np.array([5.0, -0.01], np.float32)])
    >>> np.round(p.data, 4)
    array([0.9, 2.1], dtype=float32)
    """

    state_names = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "differentiable": differentiable,
                "fused": fused,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
        )

    @staticmethod
    def judge(options: Mapping[str, Any]) -> None:
        """Raises ValueError for options out of range."""
        _require("Adam", options, "lr", "eps", "weight_decay")
        betas = options["betas"]
        pair = isinstance(betas, Sequence) and len(betas) == 2
        if not pair or not all(0.0 <= number("Adam", "betas", beta) < 1.0 for beta in betas):
            raise ValueError(
                message("Adam", "betas out of range", {"betas": betas}, "two in [0, 1)")
            )

    @staticmethod
    def describe(options: Mapping[str, Any]) -> GroupPlan:
        """What programs are compiled for under these options."""
        decoupled = bool(options["decoupled_weight_decay"])
        update = AdamUpdate(bool(options["amsgrad"]), decoupled)
        return GroupPlan("adamw" if decoupled else "adam", update, True)


class AdamW(Adam):
    """Adam whose weight decay does not pass through the moments.

    p is first multiplied by 1 - lr weight_decay; then as Adam without weight decay.

    Parameters: as Adam's; weight_decay is 0.01 by default.
    Raises: ValueError.
    Source: torch.optim.AdamW; Loshchilov and Hutter, 2019.

    >>> import numpy as np
    >>> from lamella import nn, optim
    >>> p = nn.Parameter([1.0])
    >>> optim.AdamW([p], lr=0.1, weight_decay=0.5).step([np.zeros(1, np.float32)])
    >>> p.data
    array([0.95], dtype=float32)
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
        )


class RMSprop(Optimizer):
    """Steps scaled by a running mean square of the gradient.

    s' = alpha s + (1 - alpha) g^2; p' = p - lr g / (sqrt(s') + eps). centered subtracts the square
    of the running mean under the root; momentum: b' = momentum b + g / (...), p' = p - lr b'.

    Parameters: params, what to optimise; lr, alpha, eps, weight_decay, momentum >= 0; centered;
    maximize, whether to climb.
    Raises: ValueError.
    Source: torch.optim.RMSprop; Hinton's lectures; Graves, 2013.

    >>> import numpy as np
    >>> from lamella import nn, optim
    >>> p = nn.Parameter([1.0])
    >>> optim.RMSprop([p], lr=0.1, alpha=0.75).step([np.full(1, 3.0, np.float32)])
    >>> p.data
    array([0.8], dtype=float32)
    """

    state_names = ("square_avg", "grad_avg", "momentum_buffer")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "alpha": alpha,
                "eps": eps,
                "centered": centered,
                "weight_decay": weight_decay,
                "capturable": capturable,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
            },
        )

    @staticmethod
    def judge(options: Mapping[str, Any]) -> None:
        """Raises ValueError for options out of range."""
        _require("RMSprop", options, "lr", "alpha", "eps", "weight_decay", "momentum")

    @staticmethod
    def describe(options: Mapping[str, Any]) -> GroupPlan:
        """What programs are compiled for under these options."""
        update = RmsPropUpdate(bool(options["centered"]), options["momentum"] > 0)
        return GroupPlan("rmsprop", update, True)


class Adagrad(Optimizer):
    """Steps scaled by the sum of all squared gradients.

    s' = s + g^2; p' = p - lr / (1 + (t - 1) lr_decay) g / (sqrt(s') + eps) in step t.

    Parameters: params, what to optimise; lr, lr_decay, weight_decay, eps >= 0;
    initial_accumulator_value >= 0, what s begins with; maximize, whether to climb.
    Raises: ValueError.
    Source: torch.optim.Adagrad; Duchi, Hazan and Singer, 2011.

    >>> import numpy as np
    >>> from lamella import nn, optim
    >>> p = nn.Parameter([1.0])
    >>> optim.Adagrad([p], lr=0.5).step([np.full(1, 3.0, np.float32)])
    >>> p.data
    array([0.5], dtype=float32)
    """

    state_names = ("sum",)
    state_from_start = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "eps": eps,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "fused": fused,
            },
        )

    @staticmethod
    def judge(options: Mapping[str, Any]) -> None:
        """Raises ValueError for options out of range."""
        _require(
            "Adagrad", options, "lr", "lr_decay", "eps", "weight_decay", "initial_accumulator_value"
        )

    @staticmethod
    def describe(options: Mapping[str, Any]) -> GroupPlan:
        """What programs are compiled for under these options."""
        return GroupPlan("adagrad", AdagradUpdate(), True)

    def initial(self, name: str, group: Group) -> float:
        """The sum begins with the option's value."""
        return float(group["initial_accumulator_value"])
