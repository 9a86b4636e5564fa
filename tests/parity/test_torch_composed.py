# SPDX-License-Identifier: Apache-2.0
"""Functions that consist of others against PyTorch: values, and gradients where they are delicate.

In float64. The formulas of tests/formulas are oracles of their own; here torch decides what its
names mean: shapes, defaults, zeros, equal elements, rows without a key.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

import lamella as lm
from lamella import functional as F
from lamella import nn

torch = pytest.importorskip("torch")
TF = torch.nn.functional


def draw(*shape, seed=0):
    return np.random.default_rng(60 + seed).normal(size=shape)


X, CUBE, IMAGE, SQUARE = draw(4, 6), draw(2, 3, 4), draw(2, 6, 3, 4), draw(2, 4, 4)
VECTOR, SIX, POSITIVE = draw(6, seed=1), draw(6, seed=2), np.abs(draw(6, seed=3)) + 0.5
# Zeros, equal magnitudes, a row of zeros.
CORNERS = np.array([[1.0, -2, 2, 0], [0, 0, 0, 0], [3, 3, -3, 1], [0.5, 0, 0, 0]])
Q, K, V = draw(2, 4, 5, 8), draw(2, 4, 6, 8, seed=4), draw(2, 4, 6, 3, seed=5)
MASK = np.random.default_rng(0).integers(0, 2, (5, 6)).astype(bool)
MASK[2] = False
ADDED = np.where(MASK, draw(5, 6, seed=6), -np.inf)
A, B, C = draw(3, 4), draw(4, 5, seed=7), draw(5, 3, seed=8)
INF = float("inf")
SDPA, THEIRS = F.scaled_dot_product_attention, TF.scaled_dot_product_attention


def tensors(value):
    if isinstance(value, np.ndarray):
        smooth = value.dtype.kind == "f" and bool(np.isfinite(value).all())
        return torch.tensor(value, requires_grad=smooth)
    return value


class Body(nn.Module):
    """A function as a net of its arrays."""

    def __init__(self, function, arguments, options):
        super().__init__()
        self.function, self.arguments, self.options = function, arguments, options

    def forward(self, *arrays):
        rest = iter(arrays)
        full = [next(rest) if one is None else one[0] for one in self.arguments]
        return self.function(*full, **self.options)


def flat(result):
    return list(result) if isinstance(result, tuple | list) else [result]


def compare(ours: Callable, theirs: Callable, *arguments, relative=1e-12, **options):
    """Values, and gradients by every finite floating array, for given ones of the results."""
    theirs_arguments = [tensors(one) for one in arguments]
    want = flat(theirs(*theirs_arguments, **{k: tensors(v) for k, v in options.items()}))
    got = flat(ours(*arguments, **options))
    assert [one.shape for one in got] == [tuple(one.shape) for one in want]
    dys = [draw(*one.shape, seed=9) for one in got]
    for mine, one in zip(got, want, strict=True):
        agree(mine, one.detach().numpy(), relative)
    leaves = [t for t in theirs_arguments if isinstance(t, torch.Tensor) and t.requires_grad]
    gradients = torch.autograd.grad(
        want, leaves, [torch.tensor(dy) for dy in dys], allow_unused=True, materialize_grads=True
    )
    arrays = [one for one in arguments if isinstance(one, np.ndarray)]
    places = [None if isinstance(one, np.ndarray) else (one,) for one in arguments]
    wrt = [i for i, one in enumerate(arrays) if tensors(one).requires_grad]
    single = not isinstance(ours(*arguments, **options), tuple)
    body = Body(ours, places, options)
    _, d = lm.gradients(body)(tuple(arrays), wrt=tuple(wrt), dy=dys[0] if single else tuple(dys))
    for i, one in zip(wrt, gradients, strict=True):
        agree(d[i], one.numpy(), relative)


def agree(got, want, relative):
    both = np.isnan(got) & np.isnan(want)
    same = (got == want) | both
    with np.errstate(invalid="ignore"):
        close = np.abs(got - want) <= relative * (1 + np.abs(want))
    assert (same | close).all(), f"got {got[~(same | close)]}, torch {want[~(same | close)]}"


CALLS = {
    "group_norm": [(F.group_norm, TF.group_norm, (IMAGE, 3, SIX, VECTOR, 1e-3)),
                   (F.group_norm, TF.group_norm, (X, 2))],
    "instance_norm": [
        (lambda x, w, b: F.instance_norm(x, None, None, w, b),
         lambda x, w, b: TF.instance_norm(x, None, None, w, b), (IMAGE, SIX, VECTOR)),
        (lambda x: F.instance_norm(x, VECTOR, POSITIVE, use_input_stats=False),
         lambda x: TF.instance_norm(x, torch.tensor(VECTOR), torch.tensor(POSITIVE),
                                    use_input_stats=False), (IMAGE,)),
    ],
    "local_response_norm": [(F.local_response_norm, TF.local_response_norm,
                             (IMAGE, n, 0.5, 0.6, 2.0)) for n in (1, 2, 3, 9)],
    "attention": [
        (SDPA, THEIRS, (Q, K, V)),
        (SDPA, THEIRS, (Q, K, V, MASK)),
        (SDPA, THEIRS, (Q, K, V, ADDED)),
        (SDPA, THEIRS, (Q, K, V, None, 0.0, True)),
        (partial(SDPA, scale=0.3), partial(THEIRS, scale=0.3), (Q, K, V, draw(5, 6, seed=10))),
        (partial(SDPA, enable_gqa=True), partial(THEIRS, enable_gqa=True),
         (Q, K[:, :2].copy(), V[:, :2].copy(), MASK)),
    ],
    "einsum": [(lambda *x, e=e: F.einsum(e, *x), lambda *x, e=e: torch.einsum(e, *x), x)
               for e, x in [
        ("bij->bji", (CUBE,)), ("bij->i", (CUBE,)), ("iij->ij", (draw(3, 3, 4),)),
        ("bii", (SQUARE,)), ("...i->", (CUBE,)), ("...ij->...", (CUBE,)),
        ("ij,jk", (A, B)), ("ij,jk,kl->il", (A, B, C)), ("ij,jk,ki->", (A, B, C)),
        ("ij,ij->", (A, A + 1)), ("i,j->ji", (VECTOR, SIX)), ("ij,j->ij", (X, VECTOR)),
        ("...ij,...jk->...ik", (CUBE, draw(1, 4, 5))), ("a...,b...->ab...", (CUBE, CUBE + 1)),
        ("ij,jk", (draw(3, 1), B)), ("ij,kj->", (A, A)), ("bhqd,bhkd->bhqk", (Q, K)),
        ("xi,xij,xj->x", (CUBE[:, :, 0].copy(), CUBE, CUBE[:, 0].copy())),
        ("zY,Yz", (A, A.T.copy())), ("ab,cd,ef->ace", (A, B, C)),
    ]],
    "pad": [(F.pad, TF.pad, (IMAGE, (2, 1, 1, 2), mode))
            for mode in ("constant", "reflect", "replicate", "circular")]
    + [(F.pad, TF.pad, (IMAGE, (2, -1, -1, 2), mode))
       for mode in ("constant", "reflect", "replicate", "circular")],
    "norm": [(F.norm, torch.norm, (x, p, dim)) for x in (X, CORNERS) for p, dim in
             [(2, 1), ("fro", None), (1, 1), (3, 1), (1.5, (0, 1)), (INF, 1), (-INF, 1), (0, 0)]],
    "norm below one": [(F.norm, torch.norm, (POSITIVE, p, 0)) for p in (0.5, -1.0)],
    "normalize": [(F.normalize, TF.normalize, (CORNERS[[0, 2]], p, 1)) for p in (1.0, 2.0, 3.0)],
    "pairwise_distance": [(F.pairwise_distance, TF.pairwise_distance, (X, X[::-1].copy(), p))
                          for p in (1.0, 2.0, 3.0)],
    "two": [(F.hypot, torch.hypot, (CORNERS + 1e-9, CORNERS[::-1] + 2)),
            (F.logaddexp, torch.logaddexp, (CORNERS, CORNERS[::-1].copy())),
            (F.logaddexp, torch.logaddexp, (CORNERS, CORNERS)),
            (F.lerp, torch.lerp, (X, X[::-1].copy(), 0.3)), (F.lerp, torch.lerp, (X, X + 1, 0.7)),
            (F.lerp, torch.lerp, (X, X[::-1].copy(), X * 2)),
            (F.addcmul, torch.addcmul, (X, X + 1, VECTOR)),
            (F.addcdiv, torch.addcdiv, (X, X + 1, POSITIVE)),
            (F.cross, lambda a, b: torch.cross(a, b, dim=1), (CUBE, CUBE[::-1].copy(), ))],
    "one": [(F.nan_to_num, torch.nan_to_num, (X,)), (F.clip, torch.clip, (CORNERS, -2.0, 2.0)),
            (F.flip, torch.flip, (CUBE, (0, 2))), (F.rot90, torch.rot90, (CUBE, 3, (0, 2))),
            (F.roll, torch.roll, (CUBE, (1, -5), (0, 2))), (F.roll, torch.roll, (CUBE, 7)),
            (F.repeat, lambda x, *n: x.repeat(*n), (X, 2, 1, 3)),
            (F.tile, lambda x, *n: torch.tile(x, n), (CUBE, 2)),
            (F.repeat_interleave, torch.repeat_interleave, (CUBE, 2, 1)),
            (F.repeat_interleave, torch.repeat_interleave, (CUBE, 3)),
            (F.unbind, torch.unbind, (CUBE, 1)), (F.movedim, torch.movedim, (CUBE, (0, 1), (2, 0))),
            (F.swapaxes, torch.swapaxes, (CUBE, 0, -1)), (F.tril, torch.tril, (CUBE, 1)),
            (F.triu, torch.triu, (CUBE, -1)), (F.diagonal, torch.diagonal, (CUBE, -1, 2, 0)),
            (F.diag, torch.diag, (X, 2)), (F.diag, torch.diag, (VECTOR, -2)),
            (F.diag_embed, torch.diag_embed, (X, 1, 0, 2))],
    "products": [(F.dot, torch.dot, (VECTOR, SIX)), (F.inner, torch.inner, (CUBE, A)),
                 (F.outer, torch.outer, (VECTOR, SIX)), (F.mv, torch.mv, (X, VECTOR)),
                 (F.mm, torch.mm, (A, B)), (F.bmm, torch.bmm, (CUBE, SQUARE)),
                 (F.addmm, torch.addmm, (B[0].copy(), A, B)),
                 (F.baddbmm, torch.baddbmm, (CUBE, CUBE, SQUARE))],
}  # fmt: skip
ROWS = [
    pytest.param(*row, id=f"{name}-{i}")
    for name, rows in CALLS.items()
    for i, row in enumerate(rows)
]


@pytest.mark.parametrize(("ours", "theirs", "arguments"), ROWS)
def test_values_and_gradients(ours, theirs, arguments):
    compare(ours, theirs, *arguments)


def test_numbers_by_name():
    compare(F.baddbmm, torch.baddbmm, CUBE, CUBE, SQUARE, beta=0.5, alpha=2.0)
    compare(F.addmm, torch.addmm, B[0].copy(), A, B, beta=0)
    compare(F.addcmul, torch.addcmul, X, X, X, value=0.3)
    compare(F.addcdiv, torch.addcdiv, X, X, X, value=-2.0)


SPECIAL = np.array([INF, -INF, np.nan, 0.0, -0.0, 1.0, -2.0, 1e300])


@pytest.mark.parametrize("name", ["hypot", "logaddexp"])
def test_special_values(name):
    a, b = (x.reshape(-1).copy() for x in np.meshgrid(SPECIAL, SPECIAL))
    want = getattr(torch, name)(torch.tensor(a), torch.tensor(b)).numpy()
    agree(getattr(F, name)(a, b), want, 1e-15)


def test_what_torch_refuses_is_refused():
    wrong = [
        (F.group_norm, TF.group_norm, (X, 4)),
        (F.instance_norm, TF.instance_norm, (X[:, :, None],)),
        (F.local_response_norm, TF.local_response_norm, (X, 2)),
        (SDPA, THEIRS, (Q, K, V, MASK, 0.0, True)),
        (SDPA, THEIRS, (Q, K[..., :5], V)),
        (F.pad, TF.pad, (IMAGE, (4, 0, 0, 0), "reflect")),
        (F.pad, TF.pad, (IMAGE, (5, 0, 0, 0), "circular")),
        (F.pad, TF.pad, (IMAGE, (1, 1), "mirror")),
        (F.pad, TF.pad, (IMAGE, (1, 1, 1, 1), "reflect", 1.0)),
        (F.roll, torch.roll, (X, (1, 2), 0)),
        (F.repeat, lambda x, *n: x.repeat(*n), (X, 2)),
        (F.rot90, torch.rot90, (X, 1, (0, 0))),
        (F.diag, torch.diag, (CUBE,)),
        (F.tril, torch.tril, (VECTOR,)),
        (F.movedim, torch.movedim, (CUBE, (0, 1), (2,))),
        (F.dot, torch.dot, (VECTOR, VECTOR[:3])),
        (F.bmm, torch.bmm, (CUBE, A)),
        (F.mv, torch.mv, (X, VECTOR[:4])),
        (F.cross, lambda a, b, d: torch.cross(a, b, dim=d), (X, X, 0)),
        (F.addmm, torch.addmm, (draw(7), A, B)),
        *((lambda *x, e=e: F.einsum(e, *x), lambda *x, e=e: torch.einsum(e, *x), x)
          for e, x in [("ij,jk->iz", (A, B)), ("ij->ii", (A,)), ("ij", (A, B)), ("ijk", (A,)),
                       ("ij,ik", (A, B)), ("i1", (A,)), ("ii", (A,))]),
    ]  # fmt: skip
    for ours, theirs, arguments in wrong:
        with pytest.raises((RuntimeError, ValueError, IndexError, NotImplementedError)):
            theirs(*(torch.tensor(x) if isinstance(x, np.ndarray) else x for x in arguments))
        with pytest.raises((ValueError, IndexError, NotImplementedError)):
            ours(*arguments)
