# SPDX-License-Identifier: Apache-2.0
"""Every public function gives what its formula gives: an oracle of its own, PyTorch or not.

A function without a formula fails, and so does an option that no call of it changes.
"""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from comparators import Mismatch
from formulas import along, composed, entries, losses, pointwise, quantization
from formulas.formula import Formula, judge, wide
from lamella import functional as F

FORMULAS: dict[str, Formula] = {
    **pointwise.FORMULAS,
    **along.FORMULAS,
    **losses.FORMULAS,
    **composed.FORMULAS,
    **entries.FORMULAS,
    **quantization.FORMULAS,
}
# What no result depends on; out= has tests of its own.
ELSEWHERE = {"out", "inplace"}
CALLS = [
    pytest.param(name, one, id=f"{name}-{i}")
    for name, row in FORMULAS.items()
    for i, one in enumerate(row.calls)
]


def test_every_public_function_has_a_formula():
    assert FORMULAS.keys() == set(F.__all__)


@pytest.mark.parametrize(("name", "one"), CALLS)
def test_functions_mean_what_their_formulas_say(name, one):
    judge(getattr(F, name), FORMULAS[name], one)


@pytest.mark.parametrize("name", F.__all__)
def test_every_option_is_tried(name):
    """Some call gives each option another value than its default."""
    parameters = inspect.signature(getattr(F, name)).parameters
    order = [one.name for one in parameters.values() if one.kind is not one.KEYWORD_ONLY]
    given = [dict(zip(order, c.args, strict=False)) | c.named for c in FORMULAS[name].calls]
    for option, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty or option in ELSEWHERE:
            continue
        if (name, option) == ("round", "decimals"):
            continue  # there is one value only
        tried = [values[option] for values in given if option in values]
        other = [v for v in tried if isinstance(v, np.ndarray | list) or v != parameter.default]
        assert other, f"{name}: no call with another {option}"


def _wrong(want):
    """The result with its largest element off by one part in a thousand, a truth turned over."""
    want = np.array(want)
    at = np.unravel_index(np.argmax(np.abs(want)), want.shape)
    want[at] = ~want[at] if want.dtype == bool else want[at] + 1e-3 * max(abs(want[at]), 1)
    return want


@pytest.mark.parametrize("name", ["glu", "sum", "gt", "huber_loss", "softmax"])
def test_a_wrong_element_is_found(name):
    row = FORMULAS[name]
    one = row.calls[0]

    def wrong(*args, **named):
        exact = _wrong(row.of(*map(wide, args), **named))
        return exact if exact.dtype == bool else exact.astype(np.float32)

    with pytest.raises(Mismatch):
        judge(wrong, row, one)


def test_dropout_keeps_a_share_and_its_mean():
    x = np.float32(1 + np.arange(40_000) % 7)
    for p in (0.25, 0.75):
        y = F.dropout(x, p)
        kept = y != 0
        pointwise_want = wide(x) / (1 - p)
        within = np.abs(y - pointwise_want)[kept] <= 2.0**-23 * pointwise_want[kept]
        assert within.all()
        # Six standard deviations of a binomial share.
        assert abs(kept.mean() - (1 - p)) < 6 * np.sqrt(p * (1 - p) / x.size)
