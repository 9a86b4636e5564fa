# SPDX-License-Identifier: Apache-2.0
"""What IEEE 754 leaves no doubt about: NaN, infinities, signed zeros, subnormals.

One row for each rule, at every lane and every tail position of a vector loop: the special value
travels through all positions of an array that is otherwise ordinary, and the ordinary elements
must not notice.
"""

from __future__ import annotations

import numpy as np
import pytest

import programs
from cases import elementwise as cases
from comparators import same_bits, same_values, within_product_bound
from gradients import gradients
from lamella import functional as F
from lamella.runtime.tensor import Tensor
from lamella.runtime.trace import current

DTYPES = ("float32", "float64")
# Four vectors of sixteen float32 and three more: every lane of a full vector, every tail.
LENGTH = 4 * 16 + 3
UNARY_CASES = [(name, params) for name, case in cases.UNARY.items() for params in case.params]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "params"), UNARY_CASES)
def test_unary(name, params, dtype, isa):
    program = programs.unary(name, dtype, (LENGTH,), params)
    ordinary = np.full(LENGTH, 0.375, dtype)
    plain = program.run([ordinary])[0].copy()
    for argument, wanted in cases.unary_special(name, dtype, params):
        for position in range(LENGTH):
            x, want = ordinary.copy(), plain.copy()
            x[position] = argument
            got = program.run([x])[0].copy()
            if wanted is cases.ANY_ZERO:
                assert got[position] == 0, f"{name}({argument})"
                want[position] = got[position]
            elif name in ("softplus", "logsigmoid") and argument == 0:
                # log 2, to the row's own accuracy: the sign of zero must not change it.
                want[position] = program.run([np.zeros(LENGTH, dtype)])[0][position]
                assert abs(want[position] - wanted) <= 4 * np.spacing(np.abs(want[position]))
            elif name == "selu" and argument == -np.inf:
                assert abs(got[position] - wanted) <= np.spacing(np.abs(want[position])) * 4
                want[position] = got[position]
            else:
                want[position] = wanted
            same_values(got, want)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [*cases.BINARY_EXACT, *cases.CHOICES])
def test_binary_on_all_pairs(name, dtype, isa):
    values = cases.hard_values(dtype)
    oracle = cases.BINARY_EXACT.get(name) or cases.choice(name)
    a, b = (np.ascontiguousarray(m).ravel() for m in np.meshgrid(values, values))
    with np.errstate(all="ignore"):
        want = oracle(a, b)
    # Every pair meets every lane: the whole table is shifted through a vector.
    for shift in range(8):
        x, y = np.roll(a, shift), np.roll(b, shift)
        got = programs.binary(name, dtype, x.shape, y.shape).run([x, y])[0]
        same_values(np.roll(got, -shift), want)


@pytest.mark.parametrize("dtype", DTYPES)
def test_pow_on_all_pairs(dtype, isa):
    values = cases.hard_values(dtype)
    a, b = (np.ascontiguousarray(m).ravel() for m in np.meshgrid(values, values))
    with np.errstate(all="ignore"):
        want = np.power(a, b)
    got = programs.binary("pow", dtype, a.shape, b.shape).run([a, b])[0]
    exact = np.isnan(want) | np.isinf(want) | (want == 0) | (np.abs(want) == 1)
    same_values(got[exact], want[exact])
    others = ~exact
    assert (np.signbit(got[others]) == np.signbit(want[others])).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(cases.COMPARE))
def test_compare_on_all_pairs(name, dtype, isa):
    values = cases.hard_values(dtype)
    a, b = (np.ascontiguousarray(m).ravel() for m in np.meshgrid(values, values))
    for shift in range(8):
        x, y = np.roll(a, shift), np.roll(b, shift)
        got = programs.binary(name, dtype, x.shape, y.shape, result="bool").run([x, y])[0]
        same_bits(got, cases.COMPARE[name](x, y))


@pytest.mark.parametrize("dtype", DTYPES)
def test_select_passes_every_value(dtype, isa):
    values = cases.hard_values(dtype)
    a, b = np.resize(values, LENGTH), np.resize(values[::-1].copy(), LENGTH)
    program = programs.select(dtype, (LENGTH,))
    for shift in range(len(values)):
        condition = np.arange(LENGTH) % 3 == shift % 3
        x, y = np.roll(a, shift), np.roll(b, shift)
        same_bits(program.run([condition, x, y])[0].copy(), np.where(condition, x, y))


@pytest.mark.parametrize("dtype", DTYPES)
def test_subnormals_stay(dtype, isa):
    small = np.finfo(dtype).smallest_subnormal * np.arange(-LENGTH, LENGTH).astype(dtype)
    with np.errstate(all="ignore"):
        for name, want in (
            ("abs", np.abs(small)),
            ("relu", np.where(small > 0, small, np.zeros_like(small))),
            ("tanh", small),
            ("erf", None),
            ("expm1", small),
            ("log1p", small),
            ("sin", small),
        ):
            got = programs.unary(name, dtype, small.shape).run([small])[0]
            if want is None:
                assert ((got != 0) == (small != 0)).all()
            else:
                same_values(got, want)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("n", [3, 16, 33])
def test_product_meets_specials_at_every_place(n, special, dtype, isa, rng):
    m, k = 7, 35
    a, b = rng.normal(size=(m, k)).astype(dtype), rng.normal(size=(k, n)).astype(dtype)
    program = programs.matmul(dtype, m, n, k)
    for position in range(k):
        x = a.copy()
        x[position % m, position] = special
        within_product_bound(program.run([x, b])[0].copy(), x, b)
        # 0 * inf and 0 * NaN are NaN: nothing is skipped because the other factor is zero.
        y = b.copy()
        y[position] = 0
        got = program.run([x, y])[0].copy()
        within_product_bound(got, x, y)
        assert np.isnan(got[position % m]).all()
        y = b.copy()
        y[position, position % n] = special
        within_product_bound(program.run([a, y])[0].copy(), a, y)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [5, 16, 40])
def test_product_ignores_what_the_output_held(n, dtype, isa, rng):
    a, b = rng.normal(size=(9, 13)).astype(dtype), rng.normal(size=(13, n)).astype(dtype)
    program = programs.matmul(dtype, 9, n, 13)
    want = program.run([a, b])[0].copy()
    out = np.full((9, n), np.nan, dtype)
    program.run([a, b], [out])
    same_bits(out, want)


def rows(dtype: str) -> dict[str, np.ndarray]:
    """Rows of softmax: all finite, some -inf, and those without a value."""
    return {
        "huge": np.array([3e38, -3e38, 0, 3e38], dtype),
        "some -inf": np.array([-np.inf, 1, -np.inf, 2], dtype),
        "one finite": np.array([-np.inf, -np.inf, -5, -np.inf], dtype),
    }


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("cols", [4, 9, 35])
def test_softmax(cols, log, dtype, isa):
    program = programs.softmax(dtype, 1, cols, log=log)
    for name, row in rows(dtype).items():
        for shift in range(cols):
            filler = np.full(cols - 4, -np.inf if "inf" in name else -3e38, dtype)
            x = np.roll(np.concatenate([row, filler]), shift)[None]
            got = program.run([x])[0].copy()
            assert not np.isnan(got).any(), (name, shift)
            weights = np.exp(got.astype(np.float64)) if log else got.astype(np.float64)
            assert abs(weights.sum() - 1) < 1e-5
            assert (weights[x == -np.inf] == 0).all()
    for bad in (np.full(cols, -np.inf), np.r_[np.zeros(cols - 1), np.nan]):
        assert np.isnan(program.run([bad.astype(dtype)[None]])[0]).all()
    infinite = np.zeros((1, cols), dtype)
    infinite[0, cols // 2] = np.inf
    assert np.isnan(program.run([infinite])[0][0, cols // 2])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("size", "inner"), [(LENGTH, 1), (LENGTH, 5), (3, LENGTH)])
def test_reductions_meet_nan_everywhere(size, inner, dtype, isa):
    for kind in ("sum", "mean", "max", "min", "prod"):
        program = programs.reduce(kind, dtype, 1, size, inner)
        for position in range(size):
            x = np.ones((1, size, inner), dtype)
            x[0, position, position % inner] = np.nan
            got = program.run([x])[0]
            wanted = np.arange(inner) == position % inner
            assert (np.isnan(got[0]) == wanted).all(), kind


@pytest.mark.parametrize("dtype", DTYPES)
def test_arg_reductions_take_the_first(dtype, isa):
    for kind, extreme in (("argmax", 3.0), ("argmin", -3.0)):
        program = programs.reduce(kind, dtype, 1, LENGTH, 1)
        for position in range(LENGTH):
            x = np.zeros((1, LENGTH, 1), dtype)
            x[0, position:] = extreme
            assert program.run([x])[0][0, 0] == position
            x[0, position] = np.nan
            assert program.run([x])[0][0, 0] == position


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cols", [7, LENGTH, 300])
def test_variance_of_a_constant_row(cols, dtype, isa):
    x = np.full((1, cols, 1), 1e8, dtype)
    got = programs.reduce("var", dtype, 1, cols, 1).run([x])[0]
    assert 0 <= got[0, 0] < 1e-2


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cols", [2, 7, LENGTH, 300, 5000])
def test_spreads_of_any_size(cols, dtype, isa):
    """Deviation and length where their squares leave the range, and the mean whose sum does."""
    limits = np.finfo(dtype)
    x = np.random.default_rng(cols).uniform(0.1, 1.0, (6, cols)).astype(dtype)
    scales = np.array([limits.max / cols, limits.tiny * 2.0**30, limits.smallest_subnormal * 4000])
    x[:3] = (x[:3] * scales[:, None]).astype(dtype)
    x[3] = limits.max  # equal ones
    x[4, cols // 2] = np.inf
    x[5, cols // 2] = np.nan
    wide = x[:4].astype(np.longdouble)
    unit = 8 * limits.eps
    for kind, want in (
        ("std", wide.std(1, ddof=1)),
        ("norm", np.sqrt(np.square(wide).sum(1))),
        ("mean", wide.mean(1)),
    ):
        got = programs.reduce(kind, dtype, 6, cols, 1).run([x[..., None]])[0][:, 0]
        want = np.clip(want, 0, np.ldexp(np.longdouble(1), limits.maxexp))
        with np.errstate(over="ignore"):
            found = np.where(np.isinf(got[:4]), np.ldexp(np.longdouble(1), limits.maxexp), got[:4])
        # The mean of subnormal numbers is rounded to one.
        floor = limits.smallest_subnormal.astype(np.longdouble) * (1 if kind == "std" else 0.5)
        assert (np.abs(found - want) <= unit * want + floor).all(), kind
        assert np.isnan(got[5])
        assert np.isnan(got[4]) if kind == "std" else np.isinf(got[4])
    columns = programs.reduce("mean", dtype, 1, cols, 6).run([x.T.copy()[None]])[0][0]
    assert np.allclose(columns[:4], wide.mean(1).astype(dtype), rtol=unit, atol=0)
    assert np.isinf(columns[4])
    assert np.isnan(columns[5])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cols", [2, 5, 16, LENGTH, 3000])
def test_a_confident_row_keeps_its_digits(cols, dtype, isa):
    """One class with nearly all of the sum: what the others add is the result."""
    for gap in (1.5, 5.0, 20.0, 60.0):
        x = np.full((1, cols), -gap - np.log(cols), dtype)
        x[0, cols // 3] = 0
        others = np.exp(np.delete(x[0].astype(np.longdouble), cols // 3)).sum()
        want, unit = np.log1p(others), 8 * np.finfo(dtype).eps * (1 + gap)
        log = programs.softmax(dtype, 1, cols, log=True).run([x])[0]
        assert abs(log[0, cols // 3] + want) <= unit * want
        total = programs.reduce("logsumexp", dtype, 1, cols, 1).run([x[..., None]])[0][0, 0]
        assert abs(total - want) <= unit * want
    target = np.array([cols // 3])
    # What rounds to 0 does not add up to something.
    for far in (-110.0 if dtype == "float32" else -800.0, -np.inf):
        alone = np.where(x == 0, x, far).astype(dtype)
        assert F.cross_entropy(alone, target, reduction="none")[0] == 0
        assert programs.softmax(dtype, 1, cols, log=True).run([alone])[0][0, cols // 3] == 0
    for smoothing in (0.0, 0.1):
        loss = F.cross_entropy(x, target, label_smoothing=smoothing, reduction="none")[0]
        spread = smoothing / cols * (np.longdouble(0) - x.astype(np.longdouble)).sum()
        assert abs(loss - want - spread) <= unit * (want + spread)

    def body(place, logits):
        loss = F.cross_entropy(Tensor(logits, current()), target, reduction="none")
        return loss._value(current())

    _, (slopes,) = gradients(body, [x], np.ones(1, dtype))
    # The own slope is p - 1, which is less what the others have.
    assert abs(slopes[0, cols // 3] + others / (1 + others)) <= unit * others


@pytest.mark.parametrize("cols", [7, LENGTH, 300])
def test_layer_norm_of_large_entries_is_finite(cols, isa):
    rng = np.random.default_rng(cols)
    x = (rng.normal(size=(3, cols)) * 1e20).astype(np.float32)
    weight, bias = np.ones(cols, np.float32), np.zeros(cols, np.float32)
    got = programs.layer_norm("float32", 3, cols).run([x, weight, bias])[0]
    assert np.isfinite(got).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cols", [7, LENGTH, 300, 5000])
def test_rms_norm(cols, dtype, isa):
    """Five rows, so that some are taken together: large ones, and NaN and infinities alone."""
    largest = float(np.finfo(dtype).max)
    large = 1e20 if dtype == "float32" else 1e200
    x = np.random.default_rng(cols).uniform(0.5, 1.0, (5, cols)).astype(dtype)
    plain = x.copy()
    x[0] *= largest
    x[1] *= large
    x[2, cols // 2] = np.nan
    x[3, cols // 2] = np.inf
    weight = np.ones(cols, dtype)
    got = programs.rms_norm(dtype, 5, cols).run([x, weight])[0]
    want = plain / np.sqrt(np.square(plain.astype(np.longdouble)).mean(1, keepdims=True))
    np.testing.assert_allclose(got[[0, 1, 4]], want[[0, 1, 4]], rtol=3e-5)
    assert np.isnan(got[2]).all()
    finite = np.arange(cols) != cols // 2
    assert np.isnan(got[3, ~finite]).all()
    assert (got[3, finite] == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kind", "sign"), [("max", 1.0), ("min", -1.0)])
@pytest.mark.parametrize("cols", [5, 16, LENGTH, 300, 3000])
def test_extremes_settle_zeros_and_infinities(cols, kind, sign, dtype, isa):
    """+0 over -0 for max, the reverse for min; an infinity is not taken for a NaN."""
    extreme = programs.reduce(kind, dtype, 5, cols, 1)
    index = programs.reduce("arg" + kind, dtype, 5, cols, 1)
    for position in (0, cols // 2, cols - 1):
        x = np.full((5, cols, 1), -0.0 * sign, dtype)
        x[1, position] = 0.0 * sign
        x[2] = -np.inf * sign
        x[3, position] = np.inf * sign
        x[4] = -np.inf * sign
        x[4, position] = 0.5 * sign
        want = np.array([-0.0, 0.0, -np.inf, np.inf, 0.5]) * sign
        same_bits(extreme.run([x])[0][:, 0], want.astype(dtype))
        assert index.run([x])[0][:, 0].tolist() == [0, 0, 0, position, position]


@pytest.mark.parametrize("dtype", DTYPES)
def test_log_sum_exp(dtype, isa):
    program = programs.reduce("logsumexp", dtype, 1, LENGTH, 1)
    x = np.full((1, LENGTH, 1), 3e38, dtype)
    assert np.isclose(program.run([x])[0][0, 0], 3e38)
    for position in range(LENGTH):
        x = np.full((1, LENGTH, 1), -np.inf, dtype)
        x[0, position] = -7.5
        assert program.run([x])[0][0, 0] == -7.5
        x[0, position] = np.inf
        assert program.run([x])[0][0, 0] == np.inf
        x[0, position] = np.nan
        assert np.isnan(program.run([x])[0][0, 0])
    assert program.run([np.full((1, LENGTH, 1), -np.inf, dtype)])[0][0, 0] == -np.inf
