# SPDX-License-Identifier: Apache-2.0
"""Steps that reduce and draw, driven through ProgramBuilder without a graph."""

from __future__ import annotations

import numpy as np
import pytest

import programs
from lamella import _core

KINDS = ["sum", "mean", "max", "min", "prod", "logsumexp", "var", "std", "norm", "argmax", "argmin"]
COLUMN_KINDS = KINDS[:5]


def reference(kind: str, x: np.ndarray, axis: int) -> np.ndarray:
    """The reduction in extended precision."""
    if kind.startswith("arg"):
        return np.asarray(getattr(x, kind)(axis))
    wide = x.astype(np.longdouble)
    if kind == "var":
        return np.asarray(wide.var(axis, ddof=1))
    if kind == "std":
        return np.asarray(wide.std(axis, ddof=1))
    if kind == "norm":
        return np.asarray(np.sqrt(np.square(wide).sum(axis)))
    if kind == "logsumexp":
        top = wide.max(axis, keepdims=True)
        total = np.log(np.exp(wide - top).sum(axis, keepdims=True)) + top
        return np.asarray(total.squeeze(axis))
    return np.asarray(getattr(wide, kind)(axis))


# ---- reductions and rows


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_reduce(isa: str, rng: np.random.Generator, kind: str, dtype: str) -> None:
    unit = float(np.finfo(dtype).eps)
    for outer, size, inner in [
        (1, 1, 1),
        (5, 3, 1),
        (7, 16, 1),
        (3, 1000, 1),
        (2, 1025, 1),
        (1, 9001, 1),
        (1, 7, 5),
        (3, 65, 9),
        (2, 300, 513),
        (4, 5000, 3),
    ]:
        if inner > 1 and kind not in COLUMN_KINDS:
            continue
        if kind in ("var", "std") and size == 1:
            continue
        x = rng.normal(size=(outer, size, inner))
        x = (1 + 1e-3 * x if kind == "prod" else x).astype(dtype)
        (y,) = programs.reduce(kind, dtype, outer, size, inner).run([x])
        expected = reference(kind, x, 1)
        if kind.startswith("arg"):
            np.testing.assert_array_equal(y, expected)
            continue
        # Sums: a unit for each level of the tree; products: one for each factor.
        scale = np.abs(x).astype(np.longdouble).sum(1) if kind in ("sum", "mean") else 1
        scale = scale / size if kind == "mean" else scale
        bound = unit * (size if kind == "prod" else 8) * np.maximum(np.abs(expected), scale)
        assert np.all(np.abs(y - expected) <= bound), (outer, size, inner)


@pytest.mark.parametrize("kind", KINDS)
def test_results_depend_on_their_own_row_alone(
    isa: str, rng: np.random.Generator, kind: str
) -> None:
    """Same bits for any number of rows or columns and any number of threads.

    One column alone is a row, which has another order of summation.
    """
    inners = (1, 700) if kind in COLUMN_KINDS else (1,)
    before = _core.num_threads()
    for inner in inners:
        x = rng.normal(size=(1500 // inner + 1, 777, inner)).astype(np.float32)
        bits = []
        for count in (1, 2, 3):
            _core.set_num_threads(count)
            bits.append(programs.reduce(kind, "float32", *x.shape).run([x])[0].tobytes())
        _core.set_num_threads(before)
        assert len(set(bits)) == 1
        whole = programs.reduce(kind, "float32", *x.shape).run([x])[0]
        for row in (0, len(x) - 1):
            for first, last in {(0, inner), (inner // 3, inner // 3 + inner // 300 + 1)}:
                part = np.ascontiguousarray(x[row : row + 1, :, first:last])
                (y,) = programs.reduce(kind, "float32", *part.shape).run([part])
                assert y.tobytes() == whole[row : row + 1, first:last].tobytes()


def test_reduce_of_nothing() -> None:
    for inner in (1, 5):
        x = np.empty((3, 0, inner), np.float32)
        for kind, value in [("sum", 0), ("prod", 1), ("mean", np.nan)]:
            (y,) = programs.reduce(kind, "float32", *x.shape).run([x])
            np.testing.assert_array_equal(y, np.full((3, inner), value, np.float32))
        for kind in ("max", "min"):
            with pytest.raises(ValueError, match="no elements"):
                programs.reduce(kind, "float32", *x.shape)
    for shape in [(0, 4, 1), (2, 4, 0), (0, 0, 0)]:
        (y,) = programs.reduce("sum", "float32", *shape).run([np.empty(shape, np.float32)])
        assert y.shape == (shape[0], shape[2])


def test_reduce_specials(isa: str) -> None:
    inf, nan = np.inf, np.nan

    def one(kind: str, row: list[float], correction: float = 1.0) -> np.ndarray:
        x = np.array(row, np.float32).reshape(1, -1, 1)
        return programs.reduce(kind, "float32", *x.shape, correction).run([x])[0].reshape(())

    for row, value in [
        ([3e38, -3e38], np.float32(3e38)),
        ([-inf] * 20, -inf),
        ([-inf, 1.0], 1.0),
        ([inf, -inf, 0], inf),
        ([nan, inf], nan),
        ([0.0] * 19 + [nan], nan),
    ]:
        np.testing.assert_array_equal(one("logsumexp", row), value)
    for position in range(40):
        row = [1.0] * 40
        row[position] = nan
        assert np.isnan([one("max", row), one("min", row)]).all()
        assert [one("argmax", row), one("argmin", row)] == [position, position]
        row = [-0.0] * 40
        row[position] = 0.0
        assert not np.signbit(one("max", row))
        assert np.signbit(one("min", row))
    assert one("var", [1e8] * 4000) == 0
    assert one("var", [2.0, 4.0], 0.0) == 1
    assert one("var", [1e18, -1e18]) == pytest.approx(2e36, rel=1e-6)
    assert np.isnan(one("var", [3.0]))
    assert np.isinf(one("var", [3.0, 4.0], 2.0))


def test_reduce_refusals() -> None:
    for kind in ("logsumexp", "var", "std", "norm", "argmax", "argmin"):
        with pytest.raises(ValueError, match="no columns form; got inner=2"):
            programs.reduce(kind, "float32", 2, 3, 2)
    with pytest.raises(ValueError, match="no kernel named 'median'"):
        programs.reduce("median", "float32", 2, 3, 1)
    with pytest.raises(ValueError, match="no kernel named 'mean'"):
        programs.reduce("mean", "int64", 2, 3, 1)
    with pytest.raises(ValueError, match="no columns form; got inner=2"):
        programs.reduce("argmax", "int8", 2, 3, 2)
    with pytest.raises(ValueError, match="reduce: dtype must be a type that is computed with"):
        programs.reduce("sum", "float16", 2, 3, 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cols", [1, 2, 3, 7, 8, 10, 16, 33, 1000, 1024, 1029, 5000])
def test_rows(isa: str, threads: int, rng: np.random.Generator, cols: int, dtype: str) -> None:
    x = rng.normal(size=(37, cols)).astype(dtype)
    weight, bias = rng.normal(size=(2, cols)).astype(dtype)
    wide, unit = x.astype(np.longdouble), float(np.finfo(dtype).eps)
    shifted = wide - wide.max(1, keepdims=True)
    log_softmax = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))

    (y,) = programs.softmax(dtype, *x.shape, log=False).run([x])
    np.testing.assert_allclose(y, np.exp(log_softmax), rtol=12 * unit)
    (y,) = programs.softmax(dtype, *x.shape, log=True).run([x])
    np.testing.assert_allclose(y, log_softmax, rtol=4 * unit, atol=4 * unit)

    (y,) = programs.layer_norm(dtype, *x.shape).run([x, weight, bias])
    deviation = wide - wide.mean(1, keepdims=True)
    normal = deviation / np.sqrt(np.square(deviation).mean(1, keepdims=True) + 1e-5)
    bound = 4 * unit * ((1 + np.abs(normal)) * np.abs(weight) + np.abs(bias))
    assert np.all(np.abs(y - (normal * weight + bias)) <= bound)
    (alone,) = programs.layer_norm(dtype, 1, cols).run([x[5:6].copy(), weight, bias])
    assert alone.tobytes() == y[5:6].tobytes()


def test_rows_specials(isa: str) -> None:
    inf, nan = np.inf, np.nan

    def softmax(row: list[float], log: bool = False) -> np.ndarray:
        x = np.array([row], np.float32)
        return programs.softmax("float32", *x.shape, log=log).run([x])[0][0]

    def norm(row: list[float]) -> np.ndarray:
        x = np.array([row], np.float32)
        ones, zeros = np.ones_like(x[0]), np.zeros_like(x[0])
        return programs.layer_norm("float32", *x.shape).run([x, ones, zeros])[0][0]

    np.testing.assert_array_equal(softmax([3e38, -3e38, 0]), [1, 0, 0])
    np.testing.assert_array_equal(softmax([3e38, 3e38]), [0.5, 0.5])
    np.testing.assert_array_equal(softmax([-inf, 0, -inf]), [0, 1, 0])
    np.testing.assert_array_equal(softmax([-inf, 0], log=True), [-inf, 0])
    for row in ([-inf, -inf], [inf, 0.0], [nan, 0.0] + [1.0] * 30):
        assert np.isnan(softmax(row)).all()
        assert np.isnan(softmax(row, log=True)).all()
    np.testing.assert_array_equal(norm([1e8] * 1000), np.zeros(1000))
    np.testing.assert_array_equal(norm([16777217.0] * 7), np.zeros(7))
    np.testing.assert_allclose(norm([1e20, -1e20]), [1, -1], rtol=1e-6)
    np.testing.assert_allclose(norm([3e38, -3e38, 3e38, -3e38]), [1, -1, 1, -1], rtol=1e-6)
    assert np.isnan(norm([inf, 0, 1])).all()


# ---- losses and dropout


@pytest.mark.parametrize("bad", [-1, 10, 2**62, -(2**63)])
def test_class_loss_out_of_range(threads: int, bad: int) -> None:
    x = np.ones((5000, 10), np.float32)
    for log_probabilities in (False, True):
        program = programs.class_loss("float32", 5000, 10, log_probabilities=log_probabilities)
        for position in (0, 4999):
            target = np.full(5000, -100)
            target[position] = bad
            with pytest.raises(IndexError, match=f"got {bad}; expected an index from 0 to 9"):
                program.run([x, target])
        assert not any(y.any() for y in program.run([x, target * 0 - 100]))


def test_class_loss_refuses() -> None:
    builder = _core.ProgramBuilder(inputs=[("float32", (4, 3)), ("int64", (4,))], outputs=[])
    arena = builder.range(256)
    numbers = {
        "dtype": "float32",
        "rows": 4,
        "cols": 3,
        "log_probabilities": False,
        "ignored": -100,
        "smoothing": 0.5,
    }
    slots = {
        "x": builder.input(0),
        "target": builder.input(1),
        "losses": arena,
        "slopes": arena.shifted(64),
        "weights": arena.shifted(128),
    }
    builder.add(_core.ClassLossSpec(**numbers), **slots)
    for wrong in (
        {"smoothing": 1.5},
        {"smoothing": float("nan")},
        {"log_probabilities": True},
        {"dtype": "int64"},
        {"rows": 5},
        {"losses": arena.shifted(2)},
        {"losses": builder.input(0)},
        {"slopes": arena},
        {"weights": arena.shifted(64)},
        {"weights": arena.shifted(256)},
    ):
        spec = {name: wrong.get(name, value) for name, value in numbers.items()}
        arrays = {name: wrong.get(name, value) for name, value in slots.items()}
        with pytest.raises(ValueError, match=r"slot|buffer|class_loss|range"):
            builder.add(_core.ClassLossSpec(**spec), **arrays)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dropout_draws_by_element(isa: str, dtype: str) -> None:
    """The mask is the same for any team and length, new in each run, another one per stream."""
    before = _core.num_threads()
    x = np.arange(1, 100_001).astype(dtype)
    masks = []
    for count in (1, 2, 3):
        _core.set_num_threads(count)
        _core.seed(42)
        program = programs.dropout(dtype, x.size, 0.25)
        first, second = (program.run([x])[0].copy() for _ in range(2))
        masks.append((first.tobytes(), second.tobytes()))
    _core.set_num_threads(before)
    assert len(set(masks)) == 1
    kept = first != 0
    assert abs(kept.mean() - 0.75) < 0.01
    np.testing.assert_allclose(first[kept], x[kept] / 0.75, rtol=1e-6)
    assert 0.5 < (kept == (second != 0)).mean() < 0.7  # 0.75^2 + 0.25^2 = 0.625
    _core.seed(42)
    (short,) = programs.dropout(dtype, 1001, 0.25).run([x[:1001].copy()])
    np.testing.assert_array_equal(short, first[:1001])
    _core.seed(42)
    (other,) = programs.dropout(dtype, x.size, 0.25, stream=1).run([x])
    assert 0.5 < (kept == (other != 0)).mean() < 0.7


def test_dropout_limits() -> None:
    x = np.array([1.0, -2.0, np.inf, np.nan] * 50, np.float32)
    np.testing.assert_array_equal(programs.dropout("float32", x.size, 0.0).run([x])[0], x)
    np.testing.assert_array_equal(
        programs.dropout("float32", x.size, 1.0).run([x])[0], [0] * x.size
    )
    for p in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="probability"):
            programs.dropout("float32", 4, p)
    with pytest.raises(ValueError, match="65536 streams"):
        programs.dropout("float32", 4, 0.5, stream=65536)
