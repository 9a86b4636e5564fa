# SPDX-License-Identifier: Apache-2.0
"""Parity of accumulated steps: uneven batches of ours against one step of PyTorch on all samples.

Every loss, option and reduction of test_torch_loss.py, in float64 on both sides: the gradient of a
row of factors before the loss, within the roundings of its terms.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lamella as lm
from lamella import functional as F
from lamella import nn, optim
from parity.oracle import wide
from parity.test_torch_loss import CALLS, IDS, TF

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning")


def taken(name: str, arrays: dict[str, Any]) -> bool:
    """Calls of whole batches; at probabilities of 0 and 1 our slopes are meant to be others."""
    first = next(iter(arrays.values()))
    return first.ndim > 1 and not (
        name == "binary_cross_entropy" and first.min() * first.max() == 0
    )


BATCHED = [(c, i) for c, i in zip(CALLS, IDS, strict=True) if taken(*c[:2])]
REDUCTIONS = [
    (call, name, reduction)
    for call, name in BATCHED
    for reduction in ("mean", "sum", *(["batchmean"] if call[0] == "kl_div" else []))
]


class Factors(nn.Module):
    """y = x * factors, one for each column."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.factors = nn.Parameter(np.ones(shape))

    def forward(self, x: Any) -> Any:
        return x * self.factors


@pytest.mark.parametrize(
    ("call", "reduction"),
    [(call, reduction) for call, _, reduction in REDUCTIONS],
    ids=[f"{name} {reduction}" for _, name, reduction in REDUCTIONS],
)
def test_uneven_batches(call: tuple[str, dict[str, Any], dict[str, Any]], reduction: str) -> None:
    name, arrays, options = call
    first, *rest = arrays
    arrays = {k: v.astype(np.float64) if v.dtype.kind == "f" else v for k, v in arrays.items()}
    rows = len(arrays[first])
    targets = [key for key in rest if len(arrays[key]) == rows]
    fixed = {key: arrays[key] for key in rest if key not in targets} | options

    x = torch.from_numpy(arrays[first])
    factors = torch.ones(x.shape[1:], dtype=torch.float64, requires_grad=True)
    named = {k: wide(v) if isinstance(v, np.ndarray) else v for k, v in fixed.items()}
    named |= {key: wide(arrays[key]) for key in targets}
    getattr(TF, name)(x * factors, **named, reduction=reduction).backward()
    want = factors.grad.numpy()

    def loss(output: Any, target: Any) -> Any:
        return getattr(F, name)(**{first: output}, **target, **fixed, reduction=reduction)

    net = Factors(x.shape[1:])
    step = lm.TrainStep(net, loss, optim.SGD(net.parameters(), lr=1.0), accumulate=3)
    for part in (slice(0, 1), slice(1, rows // 2 + 1), slice(rows // 2 + 1, rows)):
        step(arrays[first][part], {key: arrays[key][part] for key in targets})
    assert step.held == 0
    # An update of 1 - gradient rounds as 1 does; torch's own sums err as ours.
    scale = 1 + np.abs(want).max() + np.abs(arrays[first]).max()
    assert np.abs(want).max() > 0
    assert (np.abs((1 - net.factors.data) - want) <= 256 * 2.0**-53 * scale * rows).all()
