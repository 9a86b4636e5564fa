# SPDX-License-Identifier: Apache-2.0
"""Forward parity with PyTorch: every function that both have, on the same numbers.

The oracle is PyTorch in float64 on the float32 inputs: our float32 results lie within the stated
units in the last place of it, or within the componentwise bound of the sums they contain.
Layers are compared in test_torch_layers.py.
"""

from __future__ import annotations

import numpy as np
import pytest

from cases.reduce import row_chain
from comparators import product_chain, same_values, within_scale, within_ulps
from lamella import functional as F
from lamella.ops.tables import BINARY, UNARY
from parity.oracle import check_unary, draw, oracle, samples, wide

torch = pytest.importorskip("torch")
TF = torch.nn.functional


IN_TORCH = """abs neg square sqrt rsqrt reciprocal exp expm1 log log1p erf erfc sin cos floor ceil
    round sign sigmoid tanh"""
IN_FUNCTIONAL = "relu relu6 selu silu mish softsign hardsigmoid hardswish tanhshrink logsigmoid"

# Functions of one array: arguments beside it, where torch keeps them, and the row with the bound.
UNARY_CALLS = {
    **{name: ((), getattr(torch, name), name) for name in IN_TORCH.split()},
    **{name: ((), getattr(TF, name), name) for name in IN_FUNCTIONAL.split()},
    "leaky_relu": ((0.25,), TF.leaky_relu, "leaky_relu"),
    "elu": ((1.5,), TF.elu, "elu"),
    "celu": ((1.5,), TF.celu, "celu"),
    "softplus": ((2.0, 4.0), TF.softplus, "softplus"),
    "hardtanh": ((-0.75, 1.25), TF.hardtanh, "hardtanh"),
    "softshrink": ((0.75,), TF.softshrink, "softshrink"),
    "hardshrink": ((0.75,), TF.hardshrink, "hardshrink"),
    "threshold": ((0.25, -2.0), TF.threshold, "threshold"),
}


@pytest.mark.parametrize("name", UNARY_CALLS)
def test_unary(name, isa):
    arguments, function, row = UNARY_CALLS[name]
    x = samples(name)
    want = oracle(lambda t: function(t, *arguments), x)
    check_unary(getattr(F, name)(x, *arguments), want, row, x)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu(approximate, isa):
    x = samples("gelu")
    want = oracle(TF.gelu, x, approximate=approximate)
    row = "gelu" if approximate == "none" else "gelu_tanh"
    if approximate == "none":
        # torch takes 1 + erf, whose tail has lost its digits; the definition through erfc has not.
        tail = oracle(lambda t: t * torch.erfc(-t / 2**0.5) / 2, x)
        np.testing.assert_allclose(tail, want, rtol=1e-9, atol=1e-15)
        want = tail
    else:
        inner = 2 * (2 / np.pi) ** 0.5
        want = oracle(lambda t: t * torch.sigmoid(inner * (t + 0.044715 * t**3)), x)
    check_unary(F.gelu(x, approximate), want, row, x)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("add", torch.add),
        ("sub", torch.sub),
        ("mul", torch.mul),
        ("div", torch.div),
        ("maximum", torch.maximum),
        ("minimum", torch.minimum),
        ("remainder", torch.remainder),
        ("floor_divide", torch.floor_divide),
        ("pow", torch.pow),
    ],
)
@pytest.mark.parametrize("shapes", [((5, 33), (5, 33)), ((5, 33), (33,)), ((4, 1, 3), (5, 1))])
def test_binary(name, function, shapes, isa):
    low = 0.1 if name == "pow" else -3.0
    a, b = draw(*shapes[0], low=low), draw(*shapes[1], seed=12)
    want = oracle(function, a, b)
    got = getattr(F, name)(a, b)
    if BINARY[name].ulp == 0:
        same_values(got, want.astype(np.float32))
    else:
        within_ulps(got, want, np.float32, BINARY[name].ulp)


@pytest.mark.parametrize("name", ["eq", "ne", "lt", "le", "gt", "ge"])
def test_compare(name):
    a, b = np.round(draw(6, 40)), np.round(draw(40, seed=12))
    a[0, :3] = np.nan, np.inf, -np.inf
    same_values(getattr(F, name)(a, b), oracle(getattr(torch, name), a, b))
    same_values(getattr(F, name)(a, 1), oracle(lambda t: getattr(torch, name)(t, 1), a))


@pytest.mark.parametrize("name", ["logical_and", "logical_or", "logical_xor", "logical_not"])
@pytest.mark.parametrize("dtype", [bool, np.float32])
def test_logical(name, dtype):
    operands = [(draw(5, 21, seed=s) > 0).astype(dtype) for s in (1, 2)]
    operands = operands[:1] if name == "logical_not" else operands
    same_values(getattr(F, name)(*operands), oracle(getattr(torch, name), *operands))


def test_where_and_clamp():
    x, y = draw(5, 21), draw(21, seed=2)
    same_values(F.where(x > 0, x, y), oracle(torch.where, x > 0, x, y).astype(np.float32))
    for bounds in ((-1, 1), (None, 0.5), (0.5, None), (1, -1)):
        want = torch.from_numpy(x).clamp(*bounds).numpy()
        same_values(F.clamp(x, *bounds), want)
    same_values(F.clamp(x, y), oracle(torch.clamp, x, y).astype(np.float32))


DIMS = [None, 0, 1, -1, (0, 2), (1, 2), (0, 1, 2)]


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("name", ["sum", "mean", "amax", "amin", "var", "std", "logsumexp"])
def test_reductions(name, dim, keepdim):
    x = draw(4, 5, 37)
    every = (0, 1, 2)
    want = oracle(lambda t: getattr(torch, name)(t, every if dim is None else dim,
                                                 keepdim=keepdim), x)  # fmt: skip
    got = getattr(F, name)(x, dim, keepdim=keepdim)
    if name in ("amax", "amin"):
        same_values(got, want.astype(np.float32))
        return
    magnitude = np.abs(x.astype(np.float64)).sum(axis=dim, keepdims=keepdim)
    # Sums: 4 ulp for each term's size; var and std are sums of positive terms; logsumexp has
    # relative error in exp plus absolute error in the shift.
    scale = {
        "sum": magnitude,
        "mean": magnitude * want.size / x.size,
        "logsumexp": np.abs(want) + 4,
    }.get(name, np.abs(want))
    within_scale(got, want, np.asarray(scale), np.float32, 40)


def test_prod():
    x = draw(6, 9, low=0.5, high=1.5)
    within_scale(F.prod(x, 1), *2 * (oracle(lambda t: torch.prod(t, 1), x),), np.float32, 9)
    want = oracle(torch.prod, x)
    within_scale(F.prod(x), want, np.abs(want), np.float32, 54)


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("name", ["max", "min"])
def test_extremes_with_positions(name, dim, keepdim):
    x = draw(4, 5, 37)
    want = getattr(torch, name)(torch.from_numpy(x), dim, keepdim)
    values, indices = getattr(F, name)(x, dim, keepdim)
    same_values(values, want.values.numpy())
    same_values(indices, want.indices.numpy())
    same_values(getattr(F, f"arg{name}")(x, dim, keepdim), want.indices.numpy())
    same_values(getattr(F, name)(x), getattr(torch, name)(torch.from_numpy(x)).numpy())
    flat = getattr(torch, f"arg{name}")(torch.from_numpy(x)).numpy()
    same_values(getattr(F, f"arg{name}")(x), flat)


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmin"])
def test_softmax(name, dim, isa):
    x = draw(4, 7, 37)
    want = oracle(getattr(TF, name), x, dim=dim)
    # A logarithm's absolute error follows the shifted input, not the (possibly small) result.
    scale = np.abs(want) + (4 * np.abs(x) + 4 if name == "log_softmax" else 0)
    within_scale(getattr(F, name)(x, dim), want, scale, np.float32, 60)


@pytest.mark.parametrize("x_shape", [(7, 33), (33,), (2, 3, 33)])
@pytest.mark.parametrize("outputs", [1, 5, 16, 50])
def test_linear(x_shape, outputs, isa):
    x, w, b = draw(*x_shape), draw(outputs, 33, seed=2), draw(outputs, seed=3)
    scale = oracle(TF.linear, abs(x), abs(w), abs(b))
    chain = product_chain(33)
    within_scale(F.linear(x, w, b), oracle(TF.linear, x, w, b), scale, np.float32, chain)
    within_scale(F.linear(x, w), oracle(TF.linear, x, w), scale, np.float32, chain)
    same_values(F.linear(x, w, b, activation="relu"), F.relu(F.linear(x, w, b)))


def test_linear_with_a_vector_as_weight():
    x, w = draw(7, 33), draw(33, seed=2)
    scale = oracle(TF.linear, abs(x), abs(w))
    within_scale(F.linear(x, w), oracle(TF.linear, x, w), scale, np.float32, product_chain(33))


def test_bilinear(isa):
    a, b, w, c = draw(6, 9), draw(6, 11, seed=2), draw(4, 9, 11, seed=3), draw(4, seed=4)
    scale = oracle(TF.bilinear, abs(a), abs(b), abs(w), abs(c))
    within_scale(F.bilinear(a, b, w, c), oracle(TF.bilinear, a, b, w, c), scale, np.float32, 30)


MATMUL_SHAPES = [
    ((5, 7), (7, 3)),
    ((7,), (7, 3)),
    ((5, 7), (7,)),
    ((7,), (7,)),
    ((2, 5, 7), (7, 3)),
    ((2, 5, 7), (2, 7, 3)),
    ((4, 1, 5, 7), (2, 7, 3)),
    ((5, 7), (2, 7, 3)),
    ((2, 5, 7), (7,)),
    ((7,), (2, 7, 3)),
]


@pytest.mark.parametrize("shapes", MATMUL_SHAPES, ids=str)
def test_matmul(shapes, isa):
    a, b = draw(*shapes[0]), draw(*shapes[1], seed=2)
    scale = oracle(torch.matmul, abs(a), abs(b))
    within_scale(F.matmul(a, b), oracle(torch.matmul, a, b), scale, np.float32, product_chain(7))


def test_embedding():
    table, indices = draw(9, 5), np.array([[0, 8, 3], [3, 3, 1]])
    want = oracle(TF.embedding, indices, table).astype(np.float32)
    same_values(F.embedding(indices, table), want)
    same_values(F.embedding(indices, table, padding_idx=-1), want)


@pytest.mark.parametrize("shape", [(37,), (5, 37), (3, 5, 37)])
def test_layer_norm(shape, isa):
    x = draw(4, *shape)
    w, b = draw(*shape, seed=2), draw(*shape, seed=3)
    for weight, bias in ((None, None), (w, None), (w, b)):
        tensors = [None if one is None else wide(one) for one in (weight, bias)]
        want = TF.layer_norm(wide(x), shape, *tensors).numpy()
        scale = 4 * np.abs(want) + (0 if weight is None else 4 * np.abs(w)) + 4
        within_scale(F.layer_norm(x, shape, weight, bias), want, scale, np.float32, 40)


@pytest.mark.parametrize("shape", [(37,), (5, 37), (3, 5, 37)])
def test_rms_norm(shape, isa):
    x, w = draw(4, *shape), draw(*shape, seed=2)
    for weight, eps in ((None, None), (w, None), (w, 1e-3)):
        # torch's default follows the type of its input, which is double here.
        wanted = float(np.finfo(np.float32).eps) if eps is None else eps
        want = TF.rms_norm(wide(x), shape, None if weight is None else wide(w), wanted).numpy()
        got = F.rms_norm(x, shape, weight, eps)
        within_scale(got, want, np.abs(want), np.float32, row_chain(37) / 2 + 8)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("shape", [(9, 6), (9, 6, 5)])
def test_batch_norm(shape, training, isa):
    x, mean, weight, bias = draw(*shape), *(draw(6, seed=s) for s in (2, 3, 4))
    var = draw(6, seed=5, low=0.5, high=2.0)
    for w, b in ((weight, bias), (None, None)):
        tensors = [None if one is None else wide(one) for one in (w, b)]
        want = TF.batch_norm(wide(x), wide(mean), wide(var), *tensors, training=training).numpy()
        got = F.batch_norm(x, mean, var, w, b, training=training)
        within_scale(got, want, np.abs(want) + 12, np.float32, 30)


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_glu(dim):
    x = draw(4, 6, 8)
    want = oracle(TF.glu, x, dim=dim)
    within_ulps(F.glu(x, dim), want, np.float32, 1 + UNARY["sigmoid"].ulp)


@pytest.mark.parametrize("count", [1, 6])
def test_prelu(count):
    x, w = draw(4, 6, 5), draw(count, seed=2)
    within_ulps(F.prelu(x, w), oracle(TF.prelu, x, w), np.float32, 0.5)


SHAPE_CALLS = {
    "reshape": (((6, -1),), lambda t: torch.reshape(t, (6, -1))),
    "flatten": ((1,), lambda t: torch.flatten(t, 1)),
    "unflatten": ((2, (2, -1)), lambda t: torch.unflatten(t, 2, (2, -1))),
    "transpose": ((0, -1), lambda t: torch.transpose(t, 0, -1)),
    "permute": (((2, 0, 1),), lambda t: torch.permute(t, (2, 0, 1))),
    "split": ((2, 2), lambda t: torch.split(t, 2, 2)),
    "split sizes": (((1, 2, 3), 2), lambda t: torch.split(t, (1, 2, 3), 2)),
    "chunk": ((4, 2), lambda t: torch.chunk(t, 4, 2)),
    "narrow": ((2, -5, 3), lambda t: torch.narrow(t, 2, -5, 3)),
    "select": ((1, -1), lambda t: torch.select(t, 1, -1)),
    "pad": (((1, 2, 0, 3), "constant", 7.0), lambda t: TF.pad(t, (1, 2, 0, 3), value=7.0)),
    "pad negative": (((-1, 2),), lambda t: TF.pad(t, (-1, 2))),
    "unsqueeze": ((-1,), lambda t: torch.unsqueeze(t, -1)),
    "squeeze": ((1,), lambda t: torch.squeeze(t, 1)),
    "expand": (((2, 4, 3, 6),), lambda t: t.expand(2, 4, 3, 6)),
    "broadcast_to": (((2, 4, 3, 6),), lambda t: torch.broadcast_to(t, (2, 4, 3, 6))),
}


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_index_copy(dim):
    x, source = draw(4, 3, 6), np.moveaxis(draw(2, *np.delete((4, 3, 6), dim), seed=2), 0, dim)
    want = torch.from_numpy(x).index_copy(dim, torch.tensor([2, 0]), torch.from_numpy(source))
    same_values(F.index_copy(x, dim, np.array([2, 0]), source), want.numpy())
    one = want.index_copy(dim, torch.tensor(1), torch.from_numpy(source).narrow(dim, 0, 1))
    got = F.index_copy(want.numpy(), dim, np.array(1), source.take([0], dim))
    same_values(got, one.numpy())


@pytest.mark.parametrize("case", SHAPE_CALLS)
def test_shapes(case):
    arguments, function = SHAPE_CALLS[case]
    x = draw(4, 3, 6)
    got = getattr(F, case.split()[0])(x, *arguments)
    want = function(torch.from_numpy(x))
    pairs = zip(got, want, strict=True) if isinstance(got, tuple) else [(got, want)]
    for a, b in pairs:
        same_values(a, np.ascontiguousarray(b.numpy()))


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_cat_and_stack(dim):
    a, b = draw(3, 4), draw(3, 4, seed=2)
    tensors = [torch.from_numpy(a), torch.from_numpy(b)]
    same_values(F.cat([a, b], dim), torch.cat(tensors, dim).numpy())
    same_values(F.concat([a, b], dim), torch.concat(tensors, dim).numpy())
    same_values(F.stack([a, b], dim), torch.stack(tensors, dim).numpy())
