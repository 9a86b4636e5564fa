# SPDX-License-Identifier: Apache-2.0
"""Losses as modules: loss(input, target), with the options of the function in the constructor.

reduction is 'mean', 'sum' or 'none' everywhere; with 'none' there is one loss per element (per
sample where there are classes), for weights of samples: (loss(y, t) * sample_weight).mean().
Weights of classes are buffers: they are in the state dict, and follow .double(). What is said of
shapes and of torch's deprecated arguments in functional/regression.py holds here. Called on arrays,
a loss is an array of NumPy's without `backward`: lm.TrainStep(net, loss, optimizer) trains with it,
and adds up sums and masses (what a mean divides by) over batches, never means.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lamella import functional as F
from lamella.nn.module import Module
from lamella.nn.parameter import Buffer

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CosineEmbeddingLoss",
    "CosineSimilarity",
    "CrossEntropyLoss",
    "GaussianNLLLoss",
    "HingeEmbeddingLoss",
    "HuberLoss",
    "KLDivLoss",
    "L1Loss",
    "MSELoss",
    "NLLLoss",
    "PoissonNLLLoss",
    "SmoothL1Loss",
    "SoftMarginLoss",
]


class _Loss(Module):
    """A loss that is reduced."""

    def __init__(self, reduction: str) -> None:
        super().__init__()
        self.reduction = reduction

    def _keep_weight(self, name: str, weight: Any) -> None:
        """A buffer of the weights, or None; numbers that are no floating array become float32."""
        if weight is not None:
            floating = getattr(getattr(weight, "dtype", None), "kind", "") == "f"
            weight = Buffer(weight if floating else np.asarray(weight, np.float32))
        self.register_buffer(name, weight)


class MSELoss(_Loss):
    """Squared errors: loss = (input - target)^2.

    Parameters: reduction, 'mean', 'sum' or 'none'. Input and target: one shape; output: 0-d, or
    their shape with 'none'. Source: torch.nn.MSELoss.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.MSELoss()(np.array([1.0, 5.0], np.float32), np.array([0.0, 2.0], np.float32))
    array(5., dtype=float32)
    """

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Any, target: Any) -> Any:
        return F.mse_loss(input, target, reduction=self.reduction)


class L1Loss(_Loss):
    """Absolute errors: loss = |input - target|.

    Parameters: reduction, 'mean', 'sum' or 'none'. Input and target: one shape; output: 0-d, or
    their shape with 'none'. Source: torch.nn.L1Loss.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.L1Loss()(np.array([1.0, 5.0], np.float32), np.array([0.0, 2.0], np.float32))
    array(2., dtype=float32)
    """

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Any, target: Any) -> Any:
        return F.l1_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(_Loss):
    """loss = e^2 / (2 beta) where e < beta, else e - beta / 2,   e = |input - target|.

    Parameters: reduction, 'mean', 'sum' or 'none'; beta >= 0, where zero gives L1Loss. Input and
    target: one shape; output: 0-d, or their shape with 'none'.
    Source: Girshick 2015, "Fast R-CNN"; torch.nn.SmoothL1Loss.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.SmoothL1Loss()(np.array([3.0], np.float32), np.array([0.0], np.float32))
    array(2.5, dtype=float32)
    """

    def __init__(self, *, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        self.beta = beta

    def forward(self, input: Any, target: Any) -> Any:
        return F.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class HuberLoss(_Loss):
    """loss = e^2 / 2 where e < delta, else delta (e - delta / 2),   e = |input - target|.

    Parameters: reduction, 'mean', 'sum' or 'none'; delta > 0. Input and target: one shape; output:
    0-d, or their shape with 'none'.
    Source: Huber 1964, "Robust estimation of a location parameter"; torch.nn.HuberLoss.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.HuberLoss(delta=2.0)(np.array([3.0], np.float32), np.array([0.0], np.float32))
    array(4., dtype=float32)
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = delta

    def forward(self, input: Any, target: Any) -> Any:
        return F.huber_loss(input, target, self.reduction, self.delta)


class CrossEntropyLoss(_Loss):
    """loss = -sum over c of weight[c] t[c] log(p[c]),   p = softmax(input), t the target.

    t = (1 - label_smoothing) target + label_smoothing / C, target one-hot if it is an index

    Parameters: weight, (C,), of the classes; ignore_index, a target whose samples do not count;
    reduction, 'mean' (divided by the sum of the samples' weights), 'sum' or 'none';
    label_smoothing, 0 to 1. Input: logits (N, C), (C,) or (N, C, d1, ...); target: class indices,
    of the same shape without C, or probabilities of the classes, of the same shape; output: 0-d, or
    one loss a sample with 'none'. Raises: IndexError for a target outside [0, C).
    Source: Szegedy et al. 2016, "Rethinking the Inception architecture" (smoothing);
    torch.nn.CrossEntropyLoss.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.CrossEntropyLoss()(np.zeros((1, 2), np.float32), np.array([1]))
    array(0.6931472, dtype=float32)
    """

    def __init__(
        self,
        weight: Any = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(reduction)
        self._keep_weight("weight", weight)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    def forward(self, input: Any, target: Any) -> Any:
        return F.cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class NLLLoss(_Loss):
    """loss = -weight[target] input[target], input holding log-probabilities.

    Parameters: weight, (C,), of the classes; ignore_index, a target whose samples do not count;
    reduction, 'mean' (divided by the sum of the samples' weights), 'sum' or 'none'. Input: (N, C),
    (C,) or (N, C, d1, ...), as LogSoftmax gives; target: class indices, of the same shape without
    C; output: 0-d, or target's shape with 'none'. Raises: IndexError for a target outside [0, C).
    Source: torch.nn.NLLLoss.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.NLLLoss()(np.array([[-0.5, -2.0]], np.float32), np.array([1]))
    array(2., dtype=float32)
    """

    def __init__(
        self, weight: Any = None, *, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        self._keep_weight("weight", weight)
        self.ignore_index = ignore_index

    def forward(self, input: Any, target: Any) -> Any:
        return F.nll_loss(
            input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction
        )


class BCELoss(_Loss):
    """loss = -weight (target log(input) + (1 - target) log(1 - input)), logarithms from -100 on.

    Parameters: weight, broadcasts with the input; reduction, 'mean', 'sum' or 'none'. Input:
    probabilities, NaN where outside [0, 1]; target: of its shape, in [0, 1]; output: 0-d, or their
    shape with 'none'. BCEWithLogitsLoss loses no digits. Source: torch.nn.BCELoss.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.BCELoss()(np.array([0.0, 1.0], np.float32), np.ones(2, np.float32))
    array(50., dtype=float32)
    """

    def __init__(self, weight: Any = None, *, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self._keep_weight("weight", weight)

    def forward(self, input: Any, target: Any) -> Any:
        return F.binary_cross_entropy(input, target, self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(_Loss):
    """loss = weight (pos_weight target log(1 + exp(-input)) + (1 - target) log(1 + exp(input))).

    Parameters: weight, broadcasts with the input; reduction, 'mean', 'sum' or 'none'; pos_weight,
    of the positive class, broadcasts with the input. Input: logits; target: of its shape, in
    [0, 1]; output: 0-d, or their shape with 'none'. Source: torch.nn.BCEWithLogitsLoss.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.BCEWithLogitsLoss()(np.array([-1e4, 1e4], np.float32), np.ones(2, np.float32))
    array(5000., dtype=float32)
    """

    def __init__(
        self, weight: Any = None, *, reduction: str = "mean", pos_weight: Any = None
    ) -> None:
        super().__init__(reduction)
        self._keep_weight("weight", weight)
        self._keep_weight("pos_weight", pos_weight)

    def forward(self, input: Any, target: Any) -> Any:
        return F.binary_cross_entropy_with_logits(
            input, target, self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )


class KLDivLoss(_Loss):
    """loss = target (log(target) - input), input holding log-probabilities.

    Parameters: reduction, 'batchmean' (the sum divided by the first extent: the divergence by its
    definition), 'mean' (divided by all elements, as in torch), 'sum' or 'none'; log_target, whether
    target holds logarithms too. Input and target: one shape; output: 0-d, or their shape with
    'none'. Source: Kullback and Leibler 1951, "On information and sufficiency";
    torch.nn.KLDivLoss.

    >>> import numpy as np
    >>> from lamella import nn
    >>> loss = nn.KLDivLoss(reduction="batchmean")
    >>> loss(np.log(np.float32([[0.5, 0.5]])), np.float32([[1, 0]]))
    array(0.6931472, dtype=float32)
    """

    def __init__(self, *, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction)
        self.log_target = log_target

    def forward(self, input: Any, target: Any) -> Any:
        return F.kl_div(input, target, reduction=self.reduction, log_target=self.log_target)


class PoissonNLLLoss(_Loss):
    """loss = exp(input) - target input, or input - target log(input + eps) without log_input.

    Parameters: log_input, whether input holds logarithms of the expected counts; full, whether to
    add Stirling's approximation of log(target!); eps, kept from a logarithm of zero; reduction,
    'mean', 'sum' or 'none'. Input and target: one shape; output: 0-d, or their shape with 'none'.
    Source: torch.nn.PoissonNLLLoss.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.PoissonNLLLoss()(np.zeros(1, np.float32), np.array([2.0], np.float32))
    array(1., dtype=float32)
    """

    def __init__(
        self,
        log_input: bool = True,
        full: bool = False,
        *,
        eps: float = 1e-8,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        self.log_input = log_input
        self.full = full
        self.eps = eps

    def forward(self, log_input: Any, target: Any) -> Any:
        return F.poisson_nll_loss(
            log_input, target, self.log_input, self.full, eps=self.eps, reduction=self.reduction
        )


class GaussianNLLLoss(_Loss):
    """loss = (log(v) + (input - target)^2 / v) / 2,   v = max(var, eps).

    Parameters: full, whether to add log(2 pi) / 2; eps > 0; reduction, 'mean', 'sum' or 'none'.
    Input: the means; target: of their shape; var: the variances, of their shape, without the last
    axis, with one axis of extent 1 instead, or one number; output: 0-d, or input's shape with
    'none'. Source: Nix and Weigend 1994, "Estimating the mean and variance of the target
    probability distribution"; torch.nn.GaussianNLLLoss.

    >>> import numpy as np
    >>> from lamella import nn
    >>> x = np.array([1.0, 3.0], np.float32)
    >>> nn.GaussianNLLLoss()(x, np.zeros(2, np.float32), np.ones(2, np.float32))
    array(2.5, dtype=float32)
    """

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.full = full
        self.eps = eps

    def forward(self, input: Any, target: Any, var: Any) -> Any:
        return F.gaussian_nll_loss(input, target, var, self.full, self.eps, self.reduction)


class HingeEmbeddingLoss(_Loss):
    """loss = input where target is 1, max(0, margin - input) where it is -1.

    Parameters: margin; reduction, 'mean', 'sum' or 'none'. Input: distances; target: 1 and -1, of
    their shape; output: 0-d, or their shape with 'none'. Source: torch.nn.HingeEmbeddingLoss.

    >>> import numpy as np
    >>> from lamella import nn
    >>> distances = np.array([0.5, 0.25], np.float32)
    >>> nn.HingeEmbeddingLoss(reduction="none")(distances, np.array([1, -1]))
    array([0.5 , 0.75], dtype=float32)
    """

    def __init__(self, margin: float = 1.0, *, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input: Any, target: Any) -> Any:
        return F.hinge_embedding_loss(input, target, self.margin, reduction=self.reduction)


class SoftMarginLoss(_Loss):
    """loss = log(1 + exp(-target * input)),   target 1 or -1.

    Parameters: reduction, 'mean', 'sum' or 'none'. Input and target: one shape; output: 0-d, or
    their shape with 'none'. Source: torch.nn.SoftMarginLoss.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.SoftMarginLoss()(np.array([200.0, -200.0], np.float32), np.array([1, 1]))
    array(100., dtype=float32)
    """

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Any, target: Any) -> Any:
        return F.soft_margin_loss(input, target, reduction=self.reduction)


class CosineEmbeddingLoss(_Loss):
    """loss = 1 - cos(input1, input2) where target is 1, max(0, cos - margin) where it is -1.

    Parameters: margin, -1 to 1; reduction, 'mean', 'sum' or 'none'. Inputs: (N, D) or (D,); target:
    1 and -1, (N,) or (); output: 0-d, or target's shape with 'none'.
    Source: torch.nn.CosineEmbeddingLoss.

    >>> import numpy as np
    >>> from lamella import nn
    >>> x = np.array([[3.0, 4.0]], np.float32)
    >>> nn.CosineEmbeddingLoss(0.1)(x, np.array([[3.0, 0.0]], np.float32), np.array([-1]))
    array(0.5, dtype=float32)
    """

    def __init__(self, margin: float = 0.0, *, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input1: Any, input2: Any, target: Any) -> Any:
        return F.cosine_embedding_loss(
            input1, input2, target, self.margin, reduction=self.reduction
        )


class CosineSimilarity(Module):
    """y = x1 . x2 / (max(|x1|, eps) max(|x2|, eps)) along dim.

    Parameters: dim, an axis; eps > 0. Inputs: shapes that broadcast; output: theirs without dim.
    Source: torch.nn.CosineSimilarity.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.CosineSimilarity()(np.float32([[3, 4]]), np.float32([[3, 0]]))
    array([0.6], dtype=float32)
    """

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.dim = dim
        self.eps = eps

    def forward(self, x1: Any, x2: Any) -> Any:
        return F.cosine_similarity(x1, x2, self.dim, self.eps)
