# SPDX-License-Identifier: Apache-2.0
"""NumPy's functions on operands, methods that are functions, and NumPy's words for axes."""

from __future__ import annotations

import operator

import numpy as np
import pytest

import lamella as lm
from cases.functional import CALLS
from comparators import same_bits
from lamella import functional as F
from lamella import nn
from lamella.errors import DTypeError, UnsupportedError
from lamella.runtime.signature import flatten
from lamella.runtime.tensor import Operand

X = np.random.default_rng(6).uniform(0.5, 2, (3, 3)).astype(np.float32)
A = np.random.default_rng(7).uniform(0.5, 2, (3, 3)).astype(np.float32)
OPERATORS = [
    *(operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv),
    *(operator.mod, operator.pow, operator.matmul, operator.lt, operator.le, operator.gt),
    *(operator.ge, operator.eq, operator.ne),
]
REDUCTIONS = (
    *("sum", "mean", "prod", "amax", "amin", "max", "min", "var", "std", "logsumexp"),
    *("argmax", "argmin"),
)
# Where elements decide the shape of the result, forward refuses.
OF_ARRAYS = {"bincount", "masked_select", "nonzero", "unique_consecutive"}
METHODS = [name for name in F.__all__ if hasattr(Operand, name) and name not in OF_ARRAYS]


def plus(x):
    a = A
    a += x
    return a


@pytest.mark.parametrize("op", OPERATORS, ids=lambda op: op.__name__)
def test_operators_between_arrays_and_tensors(op):
    """On either side, an array, a scalar of NumPy's, and the parameter that is an array outside."""
    for a in (A, np.float32(1.25), nn.Parameter(A)):
        if np.ndim(a) == 0 and op is operator.matmul:
            continue
        for call in (lambda x, y: op(x, y), lambda x, y: op(y, x)):
            inside = lm.compile(lambda x, call=call, a=a: call(a, x), X)(X)
            same_bits(inside, lm.compile(call, A, X)(np.array(np.broadcast_to(a, (3, 3))), X))


def test_adding_to_the_name_of_an_array_changes_no_array():
    kept = A.copy()
    same_bits(lm.compile(plus, X)(X), A + X)
    same_bits(A, kept)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (np.exp, "exp"),
        (np.sqrt, "sqrt"),
        (np.abs, "abs"),
        (np.sum, "sum"),
        (lambda x: np.mean(x, axis=1), "mean"),
        (lambda x: np.concatenate([x, x]), "cat"),
        (lambda x: np.where(x > 1, x, 0), "where"),
        (lambda x: np.dot(x, A), "matmul"),
        (lambda x: np.clip(x, 0, 1), "clamp"),
        (lambda x: np.max(x, axis=0), "amax"),
        (lambda x: np.add.reduce(x), "add"),
        (lambda x: np.add(A, x, out=A.copy()), "add"),
    ],
)
def test_other_functions_say_which_one_does_it(call, name):
    with pytest.raises(UnsupportedError, match=rf"numpy\.\w+: .*`lm\.functional\.{name}`.*\.py, "):
        lm.compile(call, X)
    with pytest.raises(UnsupportedError, match=r"numpy\.unwrap: .*lamella\.functional has those"):
        lm.compile(np.unwrap, X)


def test_what_is_known_while_tracing():
    assert lm.compile(lambda x: x * np.ndim(x) * np.shape(x)[0], X)(X)[0, 0] == X[0, 0] * 6


def test_outside_parameters_are_arrays():
    p = nn.Parameter(X)
    same_bits(np.exp(p), np.exp(X))
    same_bits(np.add(p, A), X + A)
    same_bits(A + p, A + X)
    same_bits(np.float32(2) * p, 2 * X)
    same_bits(np.add.reduce(p), np.add.reduce(X))
    same_bits(np.mean(p, axis=0), np.mean(X, axis=0))
    same_bits(np.concatenate([p, A]), np.concatenate([X, A]))
    same_bits(np.clip(p, 0, 1), np.clip(X, 0, 1))
    assert np.array_equal(p, X)
    assert np.shape(p) == (3, 3)
    with pytest.raises((ValueError, TypeError)):
        np.exp(X, out=p)
    with pytest.raises((ValueError, TypeError)):
        np.copyto(p, A)
    same_bits(p.numpy(), X)


@pytest.mark.parametrize("name", REDUCTIONS)
def test_numpys_words_for_axes(name):
    """torch takes them too."""
    want = getattr(F, name)(X, dim=1, keepdim=True)
    got = getattr(F, name)(X, axis=1, keepdims=True)
    inside = lm.compile(lambda x: getattr(x, name)(axis=1, keepdims=True), X)(X)
    results = [y if isinstance(y, tuple) else (y,) for y in (want, got, inside)]
    for a, b, c in zip(*results, strict=True):
        same_bits(a, b)
        same_bits(a, c)
    same_bits(F.softmax(X, axis=0), F.softmax(X, dim=0))
    for _ in range(3):  # also once the call is known
        same_bits(F.cat([X, X], axis=1), F.cat([X, X], 1))
    with pytest.raises(TypeError, match=rf"{name}: .*axis"):
        getattr(F, name)(X, dim=1, axis=1)


def test_wrong_keywords_name_the_function():
    with pytest.raises(TypeError, match="relu: got an unexpected keyword argument 'axis'"):
        F.relu(X, axis=1)
    with pytest.raises(TypeError, match="relu: missing a required argument: 'input'"):
        F.relu()


@pytest.mark.parametrize("name", METHODS)
def test_methods_that_are_functions(name):
    (first, *rest), named = CALLS[name]("float32")
    want = getattr(F, name)(first, *rest, **named)
    if name == "where":  # torch's: x.where(condition, other)
        first, rest = rest[0], [first, rest[1]]
    inside = lm.compile(lambda x: getattr(x, name)(*rest, **named), first)(first)
    for a, b in zip(flatten(inside)[0], flatten(want)[0], strict=True):
        same_bits(a, b)


def test_methods_of_parameters():
    p = nn.Parameter(X)
    same_bits(p.erf(), F.erf(X))
    same_bits(p.mul(2), X * 2)


@pytest.mark.parametrize("name", ["logical_and", "logical_or", "logical_xor"])
def test_logical_methods(name):
    inside = lm.compile(lambda x, y: getattr(x > 1, name)(y > 1).logical_not(), X, A)
    same_bits(inside(X, A), ~getattr(np, name)(X > 1, A > 1))


@pytest.mark.parametrize("op", [operator.and_, operator.or_, operator.xor])
def test_operators_of_truth_values(op):
    masks = [X > 1, A > 1]
    same_bits(lm.compile(lambda x, a: op(x > 1, a > 1), X, A)(X, A), op(*masks))
    same_bits(lm.compile(lambda x: op(A > 1, x > 1), X)(X), op(masks[1], masks[0]))
    same_bits(lm.compile(lambda x: op(x > 1, True), X)(X), op(masks[0], True))
    same_bits(lm.compile(lambda x: ~(x > 1), X)(X), ~masks[0])
    # Beside an integer they count 0 and 1.
    same_bits(lm.compile(lambda x: op(x > 1, 3), X)(X), op(masks[0], 3))
    rule = r"bitwise_\w+: element types do not fit; got x=float32.*or bool.*\(x > 0\) & \(x < 1\)"
    for wrong in (lambda x: op(x, x > 1), lambda x: op(x > 1, 1.0), lambda x: op(x > 1, x)):
        with pytest.raises(DTypeError, match=rule):
            lm.compile(wrong, X)
    with pytest.raises(DTypeError, match=rule):
        lm.compile(lambda x: ~x, X)


def test_elements_are_not_assigned():
    def body(x):
        x[0] = 1.0

    with pytest.raises(TypeError, match=r"elements are not assigned.*F\.where.*F\.cat"):
        lm.compile(body, X)
