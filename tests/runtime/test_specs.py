# SPDX-License-Identifier: Apache-2.0
"""Specs of steps: what they take, what they tell, and how the builder lays out what they touch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import programs
from lamella import _core


def reduction(**changes):
    numbers = {"kind": "sum", "dtype": "float32", "outer": 2, "size": 3, "inner": 4}
    return _core.ReduceSpec(**{**numbers, **changes})


class TestSpecs:
    def test_are_values(self):
        assert reduction() == reduction(outer=np.int64(2)) != reduction(outer=3)
        assert hash(reduction()) == hash(reduction())
        assert reduction() != _core.SoftmaxSpec(dtype="float32", rows=1, cols=1, log=False)
        assert reduction(correction=0.0) != reduction(correction=-0.0)
        assert repr(reduction()) == (
            "ReduceSpec(kind='sum', dtype='float32', outer=2, size=3, inner=4, columns=False,"
            " correction=1.0)"
        )
        assert isinstance(reduction(), _core.Spec)

    def test_tell_their_work(self):
        assert reduction().work == 24
        assert programs.product("float32", 2, 3, 4, batch=(5, 6)).work == 5 * 6 * 2 * 3 * 4
        copy = _core.CopySpec(item_bytes=4, shape=(3, 5), x_strides=(5, 1), y_strides=(5, 1))
        assert (copy.work, copy.scratch_bytes) == (15, 0)
        assert programs.product("float32", 64, 40, 40, transpose_b=True).scratch_bytes % 64 == 0
        assert programs.product("float32", 64, 40, 40, constant=True).scratch_bytes == 0

    @pytest.mark.parametrize(
        ("changes", "text"),
        [
            ({"outer": -1}, "outer must be an int of 0 or more; got -1"),
            ({"outer": 1.5}, "outer must be an int of 0 or more; got 1.5"),
            ({"outer": None}, "outer must be"),
            ({"kind": 3}, "kind must be str; got 3"),
            ({"correction": "a"}, "correction must be float; got 'a'"),
            ({"x": 3}, "unexpected argument 'x'"),
        ],
    )
    def test_refuse_other_types(self, changes, text):
        with pytest.raises(TypeError, match=f"ReduceSpec: {text}"):
            reduction(**changes)

    def test_refuse_what_is_missing_or_unknown(self):
        with pytest.raises(TypeError, match="ReduceSpec: missing argument 'dtype'"):
            _core.ReduceSpec(kind="sum")
        with pytest.raises(TypeError):
            _core.ReduceSpec("sum", "float32", 1, 2, 3)
        with pytest.raises(ValueError, match=r"got .int16.; expected float32, .* or float16"):
            reduction(dtype="int16")
        with pytest.raises(OverflowError, match="does not fit"):
            reduction(outer=2**63)
        with pytest.raises(TypeError, match=r"shape must be collections.abc.Sequence\[int\]"):
            _core.CopySpec(item_bytes=4, shape="ab", x_strides=(), y_strides=())
        for code in (["neg"], [("neg", "float32", (0,))], [("neg", "float32", 0, ())]):
            with pytest.raises(TypeError, match="code must be"):
                _core.ElementwiseSpec(shape=(), dtypes=[], strides=[], code=code)

    def test_slots_are_named(self):
        builder = _core.ProgramBuilder(inputs=[], outputs=[("float32", (4,))])
        fill = _core.FillSpec(dtype="float32", count=4, value=1.0)
        with pytest.raises(TypeError, match="FillSpec: missing argument 'y'"):
            builder.add(fill)
        with pytest.raises(TypeError, match=r"FillSpec: y must be lamella\._core\.Slot; got 3"):
            builder.add(fill, y=3)
        with pytest.raises(TypeError, match="FillSpec: unexpected argument 'x'"):
            builder.add(fill, y=builder.output(0), x=builder.output(0))
        assert builder.step_count == 0


def copies(lives, nbytes):
    """A program whose range i is written by step lives[i][0] and read last by step lives[i][1]."""
    count = max(last for _, last in lives) + 1
    builder = _core.ProgramBuilder(inputs=[("float32", (4,))], outputs=[("float32", (4,))])
    ranges = [builder.range(size) for size in nbytes]
    copy = _core.CopySpec(item_bytes=4, shape=(1,), x_strides=(1,), y_strides=(1,))
    steps = [[] for _ in range(count)]
    for slot, (first, last) in zip(ranges, lives, strict=True):
        steps[first].append(slot)
        steps[last].append(slot)
    for touched in steps:
        for slot in touched:
            builder.add(copy, x=builder.input(0), y=slot)
    return builder.build()


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4), st.integers(4, 300)), min_size=1))
def test_ranges_in_use_together_lie_apart(drawn):
    lives = [(first, first + more) for first, more, _ in drawn]
    program = copies(lives, [size for *_, size in drawn])
    assert all(offset % 64 == 0 for offset, _ in program.ranges)
    for i, (offset, size) in enumerate(program.ranges):
        assert offset + size <= program.arena_bytes
        for j in range(i):
            other, length = program.ranges[j]
            together = max(lives[i][0], lives[j][0]) < min(lives[i][1], lives[j][1])
            assert not together or offset + size <= other or other + length <= offset


def test_ranges_are_used_again():
    one_after_the_other = [(i, i) for i in range(10)]
    assert copies(one_after_the_other, [100] * 10).arena_bytes == 128
    assert copies([(0, 9)] * 10, [100] * 10).arena_bytes == 1280


def test_scratch_lies_apart_from_what_is_in_use():
    """A product whose second factor is copied, between ranges that are read afterwards."""
    n = 96
    spec = programs.product("float32", n, n, n, transpose_b=True)
    assert spec.scratch_bytes > 0
    shape = ("float32", (n, n))
    builder = _core.ProgramBuilder(inputs=[shape, shape], outputs=[shape])
    a, b, y = (builder.range(4 * n * n) for _ in range(3))
    copy = _core.CopySpec(item_bytes=4, shape=(n * n,), x_strides=(1,), y_strides=(1,))
    builder.add(copy, x=builder.input(0), y=a)
    builder.add(copy, x=builder.input(1), y=b)
    builder.add(spec, a=a, b=b, y=y)
    builder.add(spec, a=y, b=b, y=builder.output(0))
    program = builder.build()
    assert program.arena_bytes >= 3 * 4 * n * n + spec.scratch_bytes
    rng = np.random.default_rng(0)
    x, w = (rng.integers(-2, 3, (n, n)).astype(np.float32) for _ in range(2))
    np.testing.assert_array_equal(program.run([x, w])[0], x @ w.T @ w.T)


def test_numbers_are_constants_of_the_program():
    for dtype in ("float32", "float64", "int64", "int32", "uint8", "int8"):
        for form in ("value", "reciprocal"):
            if "int" in dtype and form == "reciprocal":
                continue
            builder = _core.ProgramBuilder(inputs=[], outputs=[(dtype, ())])
            size = np.dtype(dtype).itemsize
            copy = _core.CopySpec(item_bytes=size, shape=(), x_strides=(), y_strides=())
            builder.add(copy, x=builder.number(dtype, form, 7), y=builder.output(0))
            (y,) = builder.build().run([])
            assert y == np.dtype(dtype).type(7 if form == "value" else 1 / 7)
    for dtype, size in (("int8", 128), ("uint8", 256), ("int32", 2**31)):
        builder = _core.ProgramBuilder(inputs=[], outputs=[])
        with pytest.raises(OverflowError, match=f"no {dtype} is {size}"):
            builder.number(dtype, "value", size)


def test_numbers_are_multiplied_in_double():
    builder = _core.ProgramBuilder(inputs=[], outputs=[("float32", ())])
    factors = [("times", 0.1), ("over", 3.0), ("value", 11), ("reciprocal", 13)]
    copy = _core.CopySpec(item_bytes=4, shape=(), x_strides=(), y_strides=())
    slot = builder.number("float32", "reciprocal", 7, factors)
    builder.add(copy, x=slot, y=builder.output(0))
    expected = np.float32(1 / 7)
    for factor in (0.1, 1 / 3, 11, np.float64(np.float32(1 / 13))):
        if factor == 1 / 3:
            expected = np.float32(np.float64(expected) / 3)
        else:
            expected = np.float32(np.float64(expected) * factor)
    assert builder.build().run([])[0] == expected
    for wrong in ([("minus", 3.0)], [("times", "a")], [("value", 1.5)], [("times",)]):
        with pytest.raises((ValueError, TypeError)):
            builder.number("float32", "value", 3, wrong)
