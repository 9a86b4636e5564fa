# SPDX-License-Identifier: Apache-2.0
"""An interrupt between the end of a native call and the next line of Python: the step counts.

test_interrupt.py sends signals, which seldom fall there; here the call itself raises when it is
over.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lamella as lm
from comparators import same_bits
from lamella import nn, optim
from lamella.train.step import TrainStep

X = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)
T = np.random.default_rng(1).integers(0, 3, 40)


def fitted(*callbacks: lm.train.Callback) -> nn.Module:
    lm.manual_seed(2)
    net = nn.Linear(6, 3)
    optimizer = optim.Adam(net.parameters(), lr=0.1)
    lm.fit(net, X, T, loss=nn.CrossEntropyLoss(), optimizer=optimizer, batch_size=8, epochs=1,
           seed=3, callbacks=list(callbacks))  # fmt: skip
    return net


class StopAfter(lm.train.Callback):
    def __init__(self, batches: int) -> None:
        self.batches = batches

    def on_batch_end(self, fit: Any) -> None:
        fit.stop = fit.batch == self.batches


@pytest.mark.parametrize("number", [1, 3, 5])
def test_a_finished_step_counts(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    want = fitted(StopAfter(number)).state_dict()
    own, calls, nets = TrainStep.weighty_rows, [], []

    def interrupted(self: TrainStep, *arguments: Any) -> Any:
        nets.append(self.net)
        result = own(self, *arguments)
        calls.append(result)
        if len(calls) == number:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(TrainStep, "weighty_rows", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        fitted()
    run: Any = caught.value.fit  # type: ignore[attr-defined]
    assert (run.batch, run.lost) == (number, [number - 1])
    for name, array in nets[0].state_dict().items():
        same_bits(array, want[name])
