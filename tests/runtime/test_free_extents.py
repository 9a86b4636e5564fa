# SPDX-License-Identifier: Apache-2.0
"""Traces with free extents: evaluated at other sizes, they are the plain traces of those sizes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import lamella as lm
from lamella import functional as F
from lamella import nn, optim
from lamella.ir.extent import plain
from lamella.ir.types import DType, TensorType
from lamella.ops.base import number
from lamella.ops.elementwise import unary
from lamella.passes import optimize
from lamella.runtime.session import trace
from lamella.runtime.tensor import Tensor
from lamella.runtime.trace import current
from lamella.train.parts import Close, Gradients, Hold, Update
from lamella.train.step import TrainStep
from substitution import check, told

FLOAT, INT = DType.float32, DType.int64
BATCH = [[(0, 0)]]
SIZES = [(2,), (3,), (7,), (64,), (1000,)]


def floats(*shape: int) -> TensorType:
    return TensorType(shape, FLOAT)


def integers(*shape: int) -> TensorType:
    return TensorType(shape, INT)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(64, 64), nn.Linear(64, 64)

    def forward(self, x):
        return F.relu(x + self.outer(F.gelu(self.inner(x))))


class Attention(nn.Module):
    def __init__(self, width: int = 16, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.first, self.second = nn.LayerNorm(width), nn.RMSNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        n, t, width = x.shape
        q, k, v = self.qkv(self.first(x)).chunk(3, -1)
        q, k, v = (
            one.reshape(n, t, self.heads, width // self.heads).transpose(1, 2) for one in (q, k, v)
        )
        scores = (q @ k.mT) * (width // self.heads) ** -0.5
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(n, t, -1)
        x = x + self.out(mixed)
        return x + self.down(F.silu(self.up(self.second(x))))


NETS: dict[str, tuple[Any, Any]] = {
    "mlp": (
        lambda: nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4)),
        lambda n: [floats(n, 64)],
    ),
    "residual": (Residual, lambda n: [floats(n, 64)]),
    "batch norm in inference": (lambda: nn.BatchNorm1d(6).eval(), lambda n: [floats(n, 6)]),
    "batch norm": (lambda: nn.BatchNorm1d(6), lambda n: [floats(n, 6)]),
    "batch norm, averages": (lambda: nn.BatchNorm1d(6, momentum=None), lambda n: [floats(n, 6, 5)]),
    "dropout": (lambda: nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 2)), lambda n: [floats(n, 3)]),
    "flatten": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.Unflatten(1, (5, -1))),
        lambda n: [floats(n, 3, 4)],
    ),
    "maxout": (lambda: lambda x: F.maxout(x, 2), lambda n: [floats(n, 6)]),
    "prelu": (lambda: nn.PReLU(6), lambda n: [floats(n, 6)]),
    "bilinear": (lambda: nn.Bilinear(3, 4, 5), lambda n: [floats(n, 3), floats(n, 4)]),
    "embedding": (
        lambda: nn.Sequential(nn.Embedding(9, 6), nn.Flatten(), nn.Linear(18, 2)),
        lambda n: [integers(n, 3)],
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_nets_of_any_batch(name: str) -> None:
    make, arguments = NETS[name]
    free = [[(number, 0) for number in range(len(arguments(2)))]]
    # Of two samples the variance's divisor is 1, and goes.
    sizes = SIZES[name == "batch norm" :]
    check(make(), arguments, free, (12,), sizes)
    check(make(), arguments, free, (3,), sizes)


def test_a_transformer_of_any_batch_and_length() -> None:
    net = nn.Sequential(Attention(), Attention())
    free = [[(0, 0)], [(0, 1)]]
    sizes = [(2, 2), (2, 37), (40, 3), (5, 5)]
    check(net, lambda n, t: [floats(n, t, 16)], free, (3, 11), sizes)


class Decoder(nn.Module):
    def __init__(self, width: int = 16, capacity: int = 64) -> None:
        super().__init__()
        self.tokens = nn.Embedding(11, width)
        self.positions = nn.Parameter(np.zeros((capacity, width), np.float32))
        self.mask = nn.Buffer(np.triu(np.full((capacity, capacity), -np.inf, np.float32), 1))
        self.inner, self.head = Attention(width), nn.Linear(width, 11)

    def forward(self, ids, targets):
        t = ids.shape[1]
        x = self.inner(self.tokens(ids) + self.positions[:t])
        scores = ((x @ x.mT) * 0.25 + self.mask[:t, :t]).softmax(-1)
        logits = self.head(scores @ x)[:, :-1]
        return logits[:, -1], F.cross_entropy(logits.reshape(-1, 11), targets[:, 1:].reshape(-1))


def test_a_decoder_whose_positions_and_mask_are_slices() -> None:
    free = [[(0, 0), (1, 0)], [(0, 1), (1, 1)]]
    check(
        Decoder(),
        lambda n, t: [integers(n, t), integers(n, t)],
        free,
        (3, 16),
        [(2, 3), (9, 63), (40, 5)],
        refused=[(2, 65), (2, 2)],
    )


ROWS: dict[str, Any] = {
    "every part": lambda x: (x[0], x[-1], x[1:], x[:-1], x[::-1], x[2:2], x[None, ..., 1]),
    "a quarter": lambda x: x[: x.shape[0] // 4],
    "halves": lambda x: x.chunk(2),
    "counted": lambda x: x.sum() / x.shape[0],
    "counted before": lambda x: 1 / x.shape[0] * x.sum(),
    "counted in a mean": lambda x: x.shape[0] * x.mean() + x.numel(),
    "the number itself": lambda x: x.shape[0],
    "the numbers": lambda x: {"n": x.numel(), "x": 2 * x},
    "reductions": lambda x: (x.sum(0), x.mean(), x.amax(1), x.std(0), x.var(), x.logsumexp(0)),
    "outer": lambda x: x @ x.mT,
    "gram": lambda x: x.mT @ x,
    "joined": lambda x: F.cat([x, x * 2.0, x[1:]]),
    "stacked": lambda x: F.stack([x, x], 1),
    "padded": lambda x: F.pad(x, (0, 1, 2, 3)),
    "repeated": lambda x: x[:, None].expand(-1, 3, -1).reshape(x.shape[0] * 3, -1),
    "flat": lambda x: x.flatten().reshape(-1, x.shape[0]),
    "one axis": lambda x: x.unsqueeze(0).squeeze(),
    "softmax over it": lambda x: (x.softmax(0), x.log_softmax(1)),
    "asked": lambda x: x * 2.0 if x.shape[0] > 1 and len(x.shape) == 2 else x,
    "position": lambda x: x.argmax(0),
    "narrowed": lambda x: F.narrow(x, 0, 1, x.shape[0] - 1) + x.select(0, -1),
    "cut in two": lambda x: x.split([2, x.shape[0] - 2]),
    "unflattened": lambda x: F.unflatten(x, 0, (2, -1)),
    "doubled": lambda x: F.pad(x, (0, 0, 0, x.shape[0])),
    "every second": lambda x: (x[::2], x[1::2], x[::-2], x[:-3:-1]),
    "rolled": lambda x: F.cat([x[x.shape[0] // 2 :], x[: x.shape[0] // 2]]),
    "turned": lambda x: x.T.reshape(2, 2, -1).permute(2, 0, 1),
}


@pytest.mark.parametrize("name", ROWS)
def test_functions_of_any_number_of_rows(name: str) -> None:
    sizes = [(8,), (20,), (64,), (400,)]
    check(ROWS[name], lambda n: [floats(n, 4)], BATCH, (12,), sizes)


IDS: dict[str, Any] = {
    "masked": lambda ids: ((ids != 0).sum(1), (ids == 0) & (ids < 3), (ids != 0).float()),
    "its size beside it": lambda ids: (ids + ids.shape[0], ids * ids.shape[0], ids / ids.shape[0]),
    "compared with it": lambda ids: ids < ids.shape[0],
    "a mean": lambda ids: ids.float().sum(0) / ids.shape[0],
    "filled": lambda ids: (
        F.zeros(ids.shape[0], 3), F.ones((2, ids.shape[0]), dtype="bool"),
        F.full((ids.shape[0],), 7), F.full((4,), ids.shape[0]), F.full_like(ids, 2.5),
    ),
    "filled and used": lambda ids: F.zeros(ids.shape) + ids * F.ones(ids.shape[0], 1),
    "counted": lambda ids: (
        F.arange(ids.shape[0]) < ids[:, 0], F.arange(1, ids.shape[0], 2), F.eye(ids.shape[0], 3),
        F.arange(ids.shape[0], 0, -1, dtype="float32"),
    ),
    "counted columns": lambda ids: F.arange(4) + ids,
    "cast": lambda ids: (ids.int(), ids.byte() + 1, ids.bool(), ids.double()),
    "where": lambda ids: F.where(ids > 2, ids, ids.shape[0]),
}  # fmt: skip


@pytest.mark.parametrize("name", IDS)
def test_integers_of_any_number_of_rows(name: str) -> None:
    check(IDS[name], lambda n: [integers(n, 4)], BATCH, (12,), [(8,), (64,), (400,)])


def test_a_size_beside_narrow_integers_has_to_fit() -> None:
    def body(ids):
        return ids + ids.shape[0]

    for dtype, most in ((DType.uint8, 255), (DType.int8, 127)):
        sizes, refused = [(2,), (most,)], [(most + 1,)]
        check(body, lambda n, t=dtype: [TensorType((n, 4), t)], BATCH, (12,), sizes, refused)


def test_conditions_say_where_a_trace_holds() -> None:
    def body(x):
        if x.shape[0] > 16:
            x = x.relu()
        return x[:8]

    check(body, lambda n: [floats(n, 4)], BATCH, (12,), [(9,), (16,)], refused=[(17,), (7,), (1,)])
    check(body, lambda n: [floats(n, 4)], BATCH, (20,), [(17,), (99,)], refused=[(16,)])

    def bounded(x):
        return x[: min(x.shape[0], 100)] * np.minimum(x.shape[0], 1000)

    check(bounded, lambda n: [floats(n, 4)], BATCH, (12,), [(100,)], refused=[(101,)])

    def pieces(x):
        return x.split(4)

    check(pieces, lambda n: [floats(n, 4)], BATCH, (11,), [(9,), (12,)], refused=[(8,), (13,)])
    check(
        lambda x: x.reshape(x.shape[0] // 4, -1),
        lambda n: [floats(n, 3)],
        BATCH,
        (8,),
        [(12,), (4,), (400,)],
        refused=[(9,), (2,)],
    )


def test_ranks_are_told_apart_without_extents() -> None:
    # As many rows as columns: nothing ties the one to the other.
    net = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8, bias=False))
    check(net, lambda n: [floats(n, 8)], BATCH, (8,), [(2,), (9,), (64,)])
    check(Residual(), lambda n: [floats(n, 64)], BATCH, (64,), [(2,), (9,)])


def test_axes_that_agree_are_one_extent() -> None:
    free = [[(0, 0), (1, 0)]]
    check(lambda x, y: x + y, lambda n: [floats(n, 3), floats(n, 3)], free, (5,), SIZES)
    extents = check(
        lambda x, y: x + y,
        lambda n, m: [floats(n, 3), floats(m, 3)],
        [[(0, 0)], [(1, 0)]],
        (5, 5),
        [(7, 7)],
        refused=[(5, 6)],
    )
    assert told(extents) == ["a eq b"]


LEAVING: dict[str, tuple[Any, str]] = {
    "a loop over rows": (lambda x: sum(row for row in x), "plain number"),
    "a loop over a range": (lambda x: [x[i] for i in range(x.shape[0])], "plain number"),
    "len()": (lambda x: x * float(len(x)), "plain number"),
    "a root": (lambda x: x * x.shape[0] ** -0.5, "power"),
    "math.sqrt": (lambda x: x / math.sqrt(x.shape[0]), "float()"),
    "an array": (lambda x: x + np.ones((x.shape[0], 1), np.float32), "plain number"),
    "a number": (lambda x: x * (x.shape[0] * 0.5), "fraction"),
    "a bound": (lambda x: x.clamp(max=x.shape[0]), "float()"),
    "a key": (lambda x: x * {12: 1.0}.get(x.shape[0], 2.0), "key"),
    "computed numbers": (lambda x: x * (1 / x.shape[0] + 1), "reciprocal"),
}


@pytest.mark.parametrize("name", LEAVING)
def test_what_leaves_the_integers_says_where(name: str) -> None:
    body, word = LEAVING[name]
    graph, _ = trace(body, [floats(12, 4)], free=BATCH)
    assert graph.extents is not None
    assert graph.extents.reasons != []
    for reason in graph.extents.reasons:
        assert word in reason
        assert "(test_free_extents.py, line " in reason


def test_what_a_module_keeps_is_plain_and_a_reason() -> None:
    class Keeping(nn.Module):
        def forward(self, x):
            self.rows, self.shape = x.shape[0], x.shape
            return x

    net = Keeping()
    graph, _ = trace(net, [floats(12, 4)], free=BATCH)
    assert type(net.rows) is int
    assert all(type(n) is int for n in net.shape)
    assert graph.extents is not None
    assert "plain number (test_free_extents.py, line " in graph.extents.reasons[0]


LOSSES: dict[str, tuple[Any, Any]] = {
    "mse": (nn.MSELoss, floats),
    "l1": (nn.L1Loss, floats),
    "huber": (nn.HuberLoss, floats),
    "smooth l1": (nn.SmoothL1Loss, floats),
    "bce": (nn.BCELoss, floats),
    "bce with logits": (nn.BCEWithLogitsLoss, floats),
    "kl": (nn.KLDivLoss, floats),
    "poisson": (nn.PoissonNLLLoss, floats),
    "cross entropy": (nn.CrossEntropyLoss, lambda n, _: integers(n)),
    "soft cross entropy": (nn.CrossEntropyLoss, floats),
    "nll": (nn.NLLLoss, lambda n, _: integers(n)),
    "hinge": (nn.HingeEmbeddingLoss, integers),
}


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 4))


def part(kind: type, step: TrainStep, rows: bool = False) -> Any:
    """What a program of a step is traced from."""
    made = kind(step, rows)

    def body(*arguments: Any) -> Any:
        with made._compiling():
            return made.forward(*arguments)

    return body


@pytest.mark.parametrize("reduction", ["mean", "sum", "batchmean"])
@pytest.mark.parametrize("name", LOSSES)
def test_steps_with_every_loss(name: str, reduction: str) -> None:
    make, target = LOSSES[name]
    if reduction == "batchmean" and name != "kl":
        return
    model = net()
    step = lm.TrainStep(model, make(reduction=reduction), optim.SGD(model.parameters(), lr=0.1))
    for weighted in (False, True):
        weights = (lambda n: [floats(n)]) if weighted else (lambda n: [None])
        free = [[(i, 0) for i in range(2 + weighted)]]
        check(
            part(Update, step),
            lambda n, w=weights: [floats(n, 6), target(n, 4), *w(n)],
            free,
            (12,),
            [(3,), (5,), (64,)],
        )


OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "adamw": lambda p: optim.AdamW(p, lr=0.1, amsgrad=True),
    "rmsprop": lambda p: optim.RMSprop(p, lr=0.1, centered=True),
}


@pytest.mark.parametrize("kind", [Update, Hold, Close, Gradients])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_with_every_part(name: str, kind: type) -> None:
    model = net()
    optimizer = OPTIMIZERS[name](model.parameters())
    step = lm.TrainStep(model, nn.MSELoss(), optimizer, clip_norm=1.0, accumulate=2)
    arguments = lambda n: [floats(n, 6), floats(n, 4), None]  # noqa: E731
    check(part(kind, step), arguments, [[(0, 0), (1, 0)]], (12,), [(3,), (5,), (64,)])


def test_steps_that_gather_their_rows() -> None:
    model = net()
    step = lm.TrainStep(model, nn.MSELoss(), optim.Adam(model.parameters()))

    def arguments(total, n):
        return [floats(total, 6), floats(total, 4), integers(n), floats(total)]

    free = [[(0, 0), (1, 0), (3, 0)], [(2, 0)]]
    check(part(Update, step, True), arguments, free, (100, 12), [(7, 3), (50, 50), (8, 1000)])


def test_a_constant_of_an_extent_is_no_equal_number() -> None:
    def body(x):
        return (x * 12.0, x * x.shape[0], x * (1 / 12), x * (1 / x.shape[0]), x * x.shape[0])

    graph, _ = trace(body, [floats(12, 4)], free=BATCH)
    first, second, third, fourth, fifth = graph.outputs
    assert len({first, second, third, fourth}) == 4
    assert fifth is second
    constants = [output.node.inputs[1] for output in (first, second, third, fourth)]
    assert [one.extent and one.extent[0] for one in constants] == [
        None, "value", None, "reciprocal",
    ]  # fmt: skip


def test_numbers_computed_of_an_extent_are_a_reason() -> None:
    def body(x):
        size = current().place(unary("exp"), number(x.shape[0], FLOAT))
        return x * Tensor(size, current())

    graph, _ = trace(body, [floats(12, 4)], free=BATCH)
    assert graph.extents is not None
    assert graph.extents.reasons == []
    optimize(graph)
    assert "computed of an extent: exp" in graph.extents.reasons[0]


WEIGHTED = {
    "two losses": lambda output, y: 0.1 * F.mse_loss(output, y) + F.l1_loss(output, y) / 3.0,
    "less one": lambda output, y: F.mse_loss(output, y) * 0.3 - 0.7 * output.mean(),
    "twice": lambda output, y: 0.1 * (0.7 * F.mse_loss(output, y)),
    "not ours": lambda output, y: (output - y).square().mean(),
}


@pytest.mark.parametrize("kind", [Update, Hold])
@pytest.mark.parametrize("name", WEIGHTED)
def test_steps_with_weighted_losses(name: str, kind: type) -> None:
    model = net()
    step = lm.TrainStep(model, WEIGHTED[name], optim.SGD(model.parameters(), lr=0.1), accumulate=2)
    arguments = lambda n: [floats(n, 6), floats(n, 4), None]  # noqa: E731
    # Sizes at which the rounded products are no powers of two.
    sizes = [(3,), (7,), (49,), (1000,)]
    extents = check(part(kind, step), arguments, [[(0, 0), (1, 0)]], (12,), sizes)
    assert told(extents) == ["a ne 2"]


def test_a_hidden_number_is_found() -> None:
    def body(x):
        return x * float(plain(x.shape[0]))

    with pytest.raises(AssertionError):
        check(body, lambda n: [floats(n, 4)], BATCH, (12,), [(5,)])

    def moved(x):
        return x[plain(x.shape[0]) - 2 :]

    with pytest.raises(AssertionError):
        check(moved, lambda n: [floats(n, 4)], BATCH, (12,), [(5,)])
