# SPDX-License-Identifier: Apache-2.0
"""A token classifier as users write it: masks of ids, counts, a gathered last token, one-hot kinds.

Integers and truth values decide what floating numbers mean, and everything is one program, in
inference and in training. Forward, gradients and parameters after several steps agree with PyTorch
to 1e-5 of their scale, whose code is the same line by line.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lamella as lm
from lamella import functional as F
from lamella import nn, optim

torch = pytest.importorskip("torch")

WORDS, WIDTH, KINDS, CLASSES = 37, 12, 3, 5
TOLERANCE = 1e-5


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, WIDTH, padding_idx=0)
        self.inner = nn.Linear(WIDTH + KINDS, WIDTH)
        self.head = nn.Linear(3 * WIDTH, CLASSES)

    def forward(self, ids: Any, kinds: Any) -> Any:
        mask = ids != 0
        length = mask.sum(1)
        x = F.cat([self.embed(ids), F.one_hot(kinds, KINDS).float()], -1)
        x = F.relu(self.inner(x)).masked_fill(~mask.unsqueeze(-1), 0.0)
        mean = x.sum(1) / length.clamp(min=1).unsqueeze(1)
        last = (length - 1).clamp(min=0).reshape(-1, 1, 1).expand(-1, 1, WIDTH)
        odd = mask & (ids % 2 == 1) & (F.arange(ids.shape[1]) < length[:, None] // 2)
        marked = (x * odd.float().unsqueeze(-1)).sum(1) / (odd.sum(1, keepdim=True) + 1)
        return self.head(F.cat([mean, x.gather(1, last).squeeze(1), marked], -1))


class Theirs(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(WORDS, WIDTH, padding_idx=0)
        self.inner = torch.nn.Linear(WIDTH + KINDS, WIDTH)
        self.head = torch.nn.Linear(3 * WIDTH, CLASSES)

    def forward(self, ids: Any, kinds: Any) -> Any:
        mask = ids != 0
        length = mask.sum(1)
        x = torch.cat([self.embed(ids), torch.nn.functional.one_hot(kinds, KINDS).float()], -1)
        x = torch.relu(self.inner(x)).masked_fill(~mask.unsqueeze(-1), 0.0)
        mean = x.sum(1) / length.clamp(min=1).unsqueeze(1)
        last = (length - 1).clamp(min=0).reshape(-1, 1, 1).expand(-1, 1, WIDTH)
        odd = mask & (ids % 2 == 1) & (torch.arange(ids.shape[1]) < length[:, None] // 2)
        marked = (x * odd.float().unsqueeze(-1)).sum(1) / (odd.sum(1, keepdim=True) + 1)
        return self.head(torch.cat([mean, x.gather(1, last).squeeze(1), marked], -1))


def twins() -> tuple[Tokens, Theirs]:
    torch.manual_seed(7)
    ours, theirs = Tokens(), Theirs()
    ours.load_state_dict({name: p.numpy() for name, p in theirs.state_dict().items()})
    return ours, theirs


def batch(rows: int, length: int, dtype: str = "int64") -> tuple[np.ndarray, ...]:
    """Ids with a tail of padding, one row of nothing else; kinds and classes."""
    rng = np.random.default_rng([rows, length])
    ids = rng.integers(1, WORDS, (rows, length)).astype(dtype)
    ids[np.arange(length) >= rng.integers(1, length + 1, rows)[:, None]] = 0
    ids[0] = 0
    return ids, rng.integers(0, KINDS, (rows, length)), rng.integers(0, CLASSES, rows)


def tensors(*arrays: np.ndarray) -> list[Any]:
    return [torch.from_numpy(x.astype(np.int64)) for x in arrays]


def near(got: np.ndarray, want: Any) -> None:
    want = want.detach().numpy()
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= TOLERANCE * max(1.0, np.abs(want).max())


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
def test_forward(dtype: str) -> None:
    ours, theirs = twins()
    ours.eval()
    # Also at sizes that only the program's text has made.
    for rows, length in ((6, 9), (4, 9), (5, 9), (5, 17), (3, 11), (8, 30)):
        ids, kinds, _ = batch(rows, length, dtype)
        near(ours(ids, kinds), theirs(*tensors(ids, kinds)))


def test_forward_is_one_program() -> None:
    ours, _ = twins()
    ids, kinds, _ = batch(6, 9)
    session = lm.compile(ours.eval(), ids, kinds)
    assert len(session.program.steps) < 60
    # What a wrong mask would change, changes.
    ids[1, -1] = 1
    assert np.abs(session(ids, kinds) - session(np.roll(ids, 1, 1), kinds)).max() > 1e-3


def test_training() -> None:
    ours, theirs = twins()
    step = lm.TrainStep(ours, nn.CrossEntropyLoss(), optim.Adam(ours.parameters(), lr=0.01))
    their = torch.optim.Adam(theirs.parameters(), lr=0.01)
    criterion = torch.nn.CrossEntropyLoss()
    for number in range(12):
        ids, kinds, target = batch(6 + number % 3, 9 + number % 2)
        loss = criterion(theirs(*tensors(ids, kinds)), *tensors(target))
        their.zero_grad()
        loss.backward()
        if number in (0, 5):
            _, gradients = step.gradients((ids, kinds), target)
            for name, p in theirs.named_parameters():
                near(gradients[name], p.grad)
        near(np.asarray(step((ids, kinds), target)), loss)
        their.step()
    for name, p in theirs.state_dict().items():
        near(ours.state_dict()[name], p)
