# SPDX-License-Identifier: Apache-2.0
"""Functions on arrays: signatures, numbers, odd arrays, out=, inlining, pickling, threads."""

from __future__ import annotations

import inspect
import pickle
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from graphs import Weight, kind, ops, traced
from lamella import _core
from lamella.errors import DTypeError, ShapeError, UnsupportedError
from lamella.runtime import tensor
from lamella.runtime.function import Function, function
from lamella.runtime.tensor import Operand

traces = []


@function(scalars=("b",))
def plus(a: Operand, b: Operand, *, twice: bool = False) -> Operand:
    """Adds."""
    traces.append("plus")
    y = a + b
    return y * 2 if twice else y


@function
def affine(x: Operand, w: Operand, b: Operand | None = None) -> Operand:
    traces.append("affine")
    y = x @ w
    return y if b is None else y + b


@function
def join(parts: Sequence[Operand], dim: int = 0) -> Operand:
    return tensor.cat(parts, dim)


@function
def halves(x: Operand, sizes: tuple[int, ...] = (1, 1)) -> tuple[Operand, ...]:
    return x.split(list(sizes))


@function
def named(x: Operand) -> dict[str, Operand]:
    return {"twice": x * 2, "both": (x, x + 1)}


X = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture(autouse=True)
def _empty():
    traces.clear()


def test_each_signature_is_compiled_once():
    fresh = Function(plus.__wrapped__, ("b",))
    for _ in range(3):
        assert np.array_equal(fresh(X, X), X + X)
    assert traces == ["plus"]
    fresh(X.astype(np.float64), X)
    fresh(X, X, twice=True)
    fresh(X[:1], X)
    assert len(traces) == 4
    fresh(X, X, twice=True)
    fresh(b=X, a=X, twice=True)
    assert len(traces) == 4


def test_numbers_take_the_arrays_dtype():
    for value in (2, 2.5, True):
        got = plus(X, value)
        assert got.dtype == np.float32
        assert np.array_equal(got, X + np.float32(value))
    assert plus(X, np.float64(2)).dtype == np.float32
    assert plus(np.float64(2), np.float32(1)).dtype == np.float64


def test_different_numbers_share_a_program():
    fresh = Function(plus.__wrapped__, ("a", "b"))
    for value in range(20):
        assert np.array_equal(fresh(X, float(value)), X + np.float32(value))
    assert traces == ["plus"]
    assert fresh(1, 2) == 3.0
    assert fresh(1, 2).dtype == np.float64


def test_a_number_used_again_and_again_becomes_a_constant():
    fresh = Function(plus.__wrapped__, ("b",))
    bits = {fresh(X, 0.1).tobytes() for _ in range(10)}
    assert bits == {(X + np.float32(0.1)).tobytes()}
    assert len(traces) == 2
    # Zeros keep their signs apart.
    zeros = np.full(2, -0.0, np.float32)
    for value in (0.0, -0.0) * 10:
        assert np.array_equal(np.signbit(fresh(zeros, value)), [np.signbit(value)] * 2)


def test_results_are_new_arrays():
    first = plus(X, 1.0)
    kept = first.copy()
    for _ in range(20):
        second = plus(X, 2.0)
    assert np.array_equal(first, kept)
    assert not np.shares_memory(first, second)


def test_keywords_and_defaults():
    w, b = np.ones((3, 2), np.float32), np.ones(2, np.float32)
    expected = X @ w + b
    for _ in range(3):
        assert np.array_equal(affine(X, w, b), expected)
        assert np.array_equal(affine(X, b=b, w=w), expected)
        assert np.array_equal(affine(w=w, x=X, b=b), expected)
        assert np.array_equal(affine(X, w), X @ w)
        assert np.array_equal(affine(X, w, None), X @ w)


@pytest.mark.parametrize(
    "call",
    [
        lambda: affine(X),
        lambda: affine(X, X, X, X),
        lambda: affine(X, w=X, x=X),
        lambda: affine(X, X, nonsense=1),
        lambda: plus(X, X, True),
    ],
)
def test_wrong_arguments_are_pythons_to_refuse(call):
    with pytest.raises(TypeError):
        call()


def test_none_where_an_array_is_due():
    with pytest.raises(DTypeError, match="affine: element type"):
        affine(X, None)


def test_errors_name_function_and_argument():
    with pytest.raises(ShapeError, match=r"matmul: inner sizes differ; got x=\(2, 3\), w=\(2, 3\)"):
        affine(X, X)
    with pytest.raises(DTypeError, match=r"plus: element type is not .*; got a=float128"):
        plus(X.astype(np.longdouble), X)
    with pytest.raises(DTypeError, match=r"matmul: element types do not fit; got x=int64, w=float"):
        affine(np.ones((2, 3), int), X)
    with pytest.raises(DTypeError, match=r"join: .* got parts\[1\]=object"):
        join([X, np.array([None])])


def test_odd_arrays_are_copied_first():
    odd = [X[:, ::-1], X.T.copy().T, np.broadcast_to(X[:1], (2, 3)), X.astype(">f4")]
    for array in odd:
        for _ in range(3):
            assert np.array_equal(plus(array, array), np.asarray(array) * 2)
    assert np.array_equal(plus([[1.0, 2.0]], [[3.0], [4.0]]), [[4.0, 5.0], [5.0, 6.0]])


class TestTransposed:
    """Views like x.T are read as they lie, and give the bytes that a copy of them gives."""

    CASES = (
        ("x", lambda x, w, b: (x.T, w, b)),
        ("w", lambda x, w, b: (x, w.T, b)),
        ("both", lambda x, w, b: (x.T, w.T, b)),
        ("batched", lambda x, w, b: (np.stack([x, x]).swapaxes(1, 2), w, b)),
        ("square beside a copy", lambda x, w, b: (x.T, x.T.copy(), b)),
    )

    @pytest.fixture
    def arrays(self, rng):
        return [rng.standard_normal(s).astype(np.float32) for s in ((24, 24), (24, 24), (24,))]

    @pytest.mark.parametrize("pick", [case[1] for case in CASES], ids=[case[0] for case in CASES])
    def test_bytes_and_programs(self, arrays, pick):
        given = pick(*arrays)
        expected = affine(*map(np.ascontiguousarray, given))
        traces.clear()
        affine.clear()
        for _ in range(3):
            assert affine(*given).tobytes() == expected.tobytes()
            assert affine(*given[:2], b=given[2]).tobytes() == expected.tobytes()
        assert traces == ["affine"]

    def test_a_copy_has_a_program_of_its_own(self, arrays):
        x, w, _ = arrays
        for _ in range(3):
            for one in (x, x.T, x[::-1].T, x.T.copy(), x[:, ::-1]):
                assert affine(one, w).tobytes() == affine(one.copy(), w).tobytes()

    def test_a_transposed_scalar_parameter(self, arrays):
        x, w, _ = arrays
        assert plus(x, w.T).tobytes() == plus(x, w.T.copy()).tobytes()
        assert plus(x.T, 2.0).tobytes() == plus(x.T.copy(), 2.0).tobytes()

    def test_out_may_be_what_is_read(self, arrays):
        x, w, _ = arrays
        for out_of in (lambda x: x, lambda x: x.T):
            given = x.copy()
            expected = affine(given.T.copy(), w)
            for _ in range(2):
                np.copyto(given, x)
                assert affine(given.T, w, out=out_of(given)).tobytes() == expected.tobytes()

    def test_errors_name_the_shape_that_was_given(self):
        x = np.ones((3, 2), np.float32)
        with pytest.raises(ShapeError, match=r"\(2, 3\).*\(4, 2\)"):
            affine(x.T, np.ones((4, 2), np.float32))


def test_sequences():
    for _ in range(3):
        assert np.array_equal(join([X, X]), np.concatenate([X, X]))
        assert np.array_equal(join((X, X[:, :1]), dim=1), np.concatenate([X, X[:, :1]], 1))
        assert np.array_equal(join([X, X, X]), np.concatenate([X, X, X]))


def test_static_arguments():
    for _ in range(3):
        first, second = halves(X)
        assert np.array_equal(first, X[:1])
        assert np.array_equal(second, X[1:])
        assert [len(part) for part in halves(X, (2, 0))] == [2, 0]
        assert [len(part) for part in halves(X, [0, 2])] == [0, 2]
    sizes = [1, 1]
    halves(X, sizes)
    sizes[:] = [2, 0]
    assert [len(part) for part in halves(X, sizes)] == [2, 0]
    with pytest.raises(DTypeError, match="halves: takes a plain value here; got sizes=ndarray"):
        halves(X, np.array([1, 1]))


def test_structured_results():
    for _ in range(3):
        got = named(X)
        assert list(got) == ["twice", "both"]
        assert np.array_equal(got["twice"], X * 2)
        assert np.array_equal(got["both"][1], X + 1)
        assert not np.shares_memory(got["both"][0], X)


def test_out_is_written_and_returned():
    out = np.empty((2, 3), np.float32)
    for _ in range(3):
        assert plus(X, 1.0, out=out) is out
        assert np.array_equal(out, X + 1)
        assert plus(X, X, out=out) is out
        assert np.array_equal(out, X + X)
    assert plus(X, 1.0, out=None) is not out


def test_out_may_be_strided_and_overlap():
    wide = np.zeros((2, 6), np.float32)
    assert np.array_equal(plus(X, X, out=wide[:, ::2]), X + X)
    assert not wide[:, 1::2].any()
    line = np.arange(8, dtype=np.float32)
    expected = line[:-1] + line[1:]
    plus(line[:-1], line[1:], out=line[1:])
    assert np.array_equal(line[1:], expected)
    x = X.copy()
    assert plus(x, x, out=x) is x
    assert np.array_equal(x, X * 2)
    swapped = np.zeros((2, 3), ">f4")
    with pytest.raises(DTypeError, match="out has another dtype"):
        plus(X, X, out=swapped.astype(np.float64))


def test_out_may_be_a_weight_the_function_reads():
    w = Weight(np.eye(3, dtype=np.float32))
    view = w.array
    assert affine(X, w, out=view[:2]).base is not None
    assert np.array_equal(view[:2], X)


@pytest.mark.parametrize(
    ("out", "error", "text"),
    [
        (np.zeros((2, 3)), DTypeError, "out has another dtype; got out=float64; expected float32"),
        (np.zeros(6, np.float32), ShapeError, r"out has another shape; got out=\(6,\)"),
        ([1, 2], TypeError, "out has another structure"),
        (7, TypeError, "out is not an array"),
    ],
)
def test_wrong_out_is_refused(out, error, text):
    with pytest.raises(error, match=f"plus: {text}"):
        plus(X, X, out=out)


def test_read_only_out_is_refused():
    out = np.zeros((2, 3), np.float32)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="plus: out is read-only"):
        plus(X, X, out=out)


def test_several_outs():
    outs = (np.empty((1, 3), np.float32), np.empty((1, 3), np.float32))
    assert halves(X, out=outs) is outs
    assert np.array_equal(outs[1], X[1:])
    same = np.empty((1, 3), np.float32)
    halves(X, out=(same, same))


def test_inlined_in_a_trace():
    graph = traced(
        lambda x: plus(affine(x, np.ones((3, 2), np.float32)), 2, twice=True), kind(2, 3)
    )
    assert ops(graph) == ["matmul", "add", "mul"]
    graph = traced(lambda x: join([x, X]), kind(2, 3))
    assert ops(graph) == ["concat(0)"]
    with pytest.raises(UnsupportedError, match="nothing to write to while tracing"):
        traced(lambda x: plus(x, x, out=X), kind(2, 3))


def test_arrays_alone_are_computed_at_once_even_in_a_trace():
    def body(x):
        doubled = plus(X, X)
        assert isinstance(doubled, np.ndarray)
        return x + doubled

    assert ops(traced(body, kind(2, 3))) == ["add"]


def test_weights_outside_a_trace():
    w = Weight(np.ones((3, 2), np.float32))
    for _ in range(3):
        assert np.array_equal(affine(X, w), X @ w.array)
    w.array *= 2
    w.version += 1
    _core.touch_parameters()
    assert np.array_equal(affine(X, w), X @ w.array)
    w.array = w.array.astype(np.float64)
    assert affine(X, w).dtype == np.float64


def test_kept_symbols_are_refused():
    kept = []
    traced(lambda x: kept.append(x) or x, kind(2, 3))
    with pytest.raises(UnsupportedError, match="kept from another trace"):
        plus(kept[0], X)


def test_introspection():
    assert plus.__name__ == "plus"
    assert plus.__doc__ == "Adds."
    assert str(inspect.signature(plus)).startswith("(a: ")
    assert list(inspect.signature(plus).parameters) == ["a", "b", "twice", "out"]
    assert "plus" in repr(plus)


def test_instruction_sets(isa):
    assert np.array_equal(plus(X, X), X + X)


def test_pickled_by_name(monkeypatch):
    import sys

    module = type(sys)("module_of_test")
    module.plus = plus
    monkeypatch.setitem(sys.modules, "module_of_test", module)
    monkeypatch.setattr(plus, "__module__", "module_of_test")
    assert pickle.loads(pickle.dumps(plus)) is plus


def test_threads_share_a_function():
    fresh = Function(affine.__wrapped__)
    w = np.ones((3, 4), np.float32)
    wrong = []

    def work():
        for rows in range(1, 40):
            x = np.full((rows, 3), rows, np.float32)
            if not np.array_equal(fresh(x, w), x @ w):
                wrong.append(rows)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong
