# SPDX-License-Identifier: Apache-2.0
"""Callable: which calls it answers itself, which it hands to _dispatch, and what it hands out."""

from __future__ import annotations

import gc
import sys
import threading
import time
import tracemalloc
import weakref

import numpy as np
import pytest

import programs
from lamella import _core
from recorder import Recorder, negation


class Derived(np.ndarray):
    """A subclass may mean something else by its memory."""


@pytest.fixture
def x():
    return np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def negate(x):
    f = Recorder()
    assert f._remember((x,), (), negation(), None)
    return f


def test_a_remembered_call_is_answered(negate, x):
    y = negate(x)
    assert type(y) is np.ndarray
    np.testing.assert_array_equal(y, -x)
    assert negate.missed == []


@pytest.mark.parametrize(
    "other",
    {
        "shape": lambda x: np.zeros((3, 2), np.float32),
        "rank": lambda x: x[None],
        "dtype": lambda x: x.astype(np.float64),
        "byte order": lambda x: x.astype(">f4"),
        "not contiguous": lambda x: np.asfortranarray(x),
        "misaligned": lambda x: np.zeros(25, np.uint8)[1:].view(np.float32).reshape(2, 3),
        "subclass": lambda x: x.view(Derived),
        "list": lambda x: x.tolist(),
        "scalar": lambda x: np.float32(1),
        "none": lambda x: None,
    }.items(),
    ids=lambda pair: pair[0],
)
def test_another_signature_is_dispatched(negate, x, other):
    value = other[1](x)
    assert negate(value) == "dispatched"
    assert negate.missed[0][0][0] is value


def test_other_arguments_are_dispatched(negate, x):
    for args, kwargs in [((), {}), ((x, x), {}), ((), {"x": x}), ((x,), {"y": 1})]:
        assert negate(*args, **kwargs) == "dispatched"
        seen_args, seen_kwargs = negate.missed.pop()
        assert len(seen_args) == len(args)
        assert all(a is b for a, b in zip(seen_args, args, strict=True))
        assert seen_kwargs.keys() == kwargs.keys()


def test_read_only_input_is_fine(negate, x):
    x.flags.writeable = False
    np.testing.assert_array_equal(negate(x), -x)
    assert negate.missed == []


def test_equivalent_types_are_the_same(negate, x):
    other = x.astype(np.dtype("float32", metadata={"a": 1}))
    np.testing.assert_array_equal(negate(other), -x)
    assert negate.missed == []
    f = Recorder()
    wide = np.arange(4, dtype=np.int64)
    assert f._remember((wide,), (), programs.cast("int64", "float32", (4,)), None)
    np.testing.assert_array_equal(f(wide.view(np.longlong)), np.arange(4, dtype=np.float32))
    assert f.missed == []


def test_arrays_go_to_the_inputs_in_order():
    f = Recorder()
    a, b = np.float32([[5, 7]]), np.float32([[1, 2]])
    program = programs.binary("sub", "float32", (1, 2), (1, 2))
    assert f._remember((a, "mode", b), ("mode", "b"), program, None)
    assert f(a, mode="mode", b=b).tolist() == [[4, 5]]
    assert f(b, mode="mode", b=a).tolist() == [[-4, -5]]
    assert f(a, b=b, mode="mode") == "dispatched"
    assert f(a, "mode", b) == "dispatched"
    out = np.empty_like(a)
    assert f(a, mode="mode", out=out, b=b) is out
    assert out.tolist() == [[4, 5]]
    name = "".join(["mo", "de"])
    assert f(a, **{name: "".join(["mo", "de"]), "b": b}).tolist() == [[4, 5]]


@pytest.mark.parametrize(
    ("value", "same", "others"),
    [
        (1, [1], [True, 1.0, 2, None]),
        (10**30, [10**30], [10**30 + 1]),
        (True, [True], [1, False]),
        (0.0, [0.0], [-0.0, 0, False]),
        (float("nan"), [float("nan")], [0.0]),
        ("same", ["".join(["sa", "me"])], ["other", b"same"]),
        ((1, (2.5, "a")), [(1, (2.5, "a"))], [(1, (2.5, "b")), (True, (2.5, "a")), (1,)]),
        (None, [None], [0, False]),
        (np.sin, [np.sin], [np.cos]),
    ],
)
def test_static_arguments(x, value, same, others):
    f = Recorder()
    assert f._remember((x, value), (), negation(), None)
    for other in same:
        np.testing.assert_array_equal(f(x, other), -x)
    assert f.missed == []
    for other in others:
        assert f(x, other) == "dispatched"


@pytest.mark.parametrize(
    "value", [[1], {1: 2}, {1}, bytearray(b"a"), np.float32(1), np.zeros(3).view(Derived), ([1],)]
)
def test_what_may_change_in_place_is_not_remembered(x, value):
    f = Recorder()
    assert not f._remember((x, value), (), negation(), None)
    assert f(x, value) == "dispatched"


def test_what_the_program_does_not_take_is_not_remembered(x):
    f = Recorder()
    for args in [(x.T,), (x.astype(np.float64),), (x[0],), (x, x), ()]:
        assert not f._remember(args, (), negation(), None)
    with pytest.raises(ValueError, match="'out'"):
        f._remember((x,), ("out",), negation(), None)
    with pytest.raises(ValueError, match="keyword names"):
        f._remember((x,), ("a", "b"), negation(), None)
    with pytest.raises(ValueError, match="returns"):
        f._remember((x,), (), negation(), "list")
    with pytest.raises(TypeError, match="no Program"):
        f._remember((x,), (), "program", None)
    assert f(x) == "dispatched"


class TestTurned:
    """Arguments that are the transposed of what the program takes."""

    @pytest.fixture
    def f(self, x):
        f = Recorder()
        assert f._remember((x.T,), (), negation(), None, turned=(True,))
        return f

    def test_the_memory_is_read_as_it_lies(self, f, x):
        np.testing.assert_array_equal(f(x.T), -x)
        np.testing.assert_array_equal(f(np.asfortranarray(x.T)), -x)
        assert f.missed == []

    def test_what_lies_otherwise_goes_the_long_way(self, f, x):
        wide = np.zeros((2, 6), np.float32)
        for other in [x, x.T.copy(), wide[:, ::2].T, wide[:, :3].T, x.astype(">f4").T, x.T[::-1]]:
            assert f(other) == "dispatched"

    def test_square_arrays_are_told_apart(self):
        square = np.arange(9, dtype=np.float32).reshape(3, 3)
        f = Recorder()
        assert f._remember((square,), (), negation((3, 3)), None)
        assert not f._remember((square.T,), (), negation((3, 3)), None)
        assert f(square.T) == "dispatched"
        assert f._remember((square.T,), (), negation((3, 3)), None, turned=(True,))
        np.testing.assert_array_equal(f(square.T), -square)
        np.testing.assert_array_equal(f(square), -square)

    def test_one_dimension_cannot_be(self):
        x = np.zeros(6, np.float32)
        assert not Recorder()._remember((x[::2],), (), negation((3,)), None, turned=(True,))


class TestOut:
    def test_is_written_and_returned(self, negate, x):
        out = np.empty_like(x)
        assert negate(x, out=out) is out
        np.testing.assert_array_equal(out, -x)
        assert negate.missed == []

    def test_none_is_no_out(self, negate, x):
        np.testing.assert_array_equal(negate(x, out=None), -x)
        assert negate.missed == []

    @pytest.mark.parametrize(
        "unfit",
        {
            "input itself": lambda x: x,
            "shape": lambda x: np.empty((3, 2), np.float32),
            "dtype": lambda x: np.empty((2, 3), np.float64),
            "not contiguous": lambda x: np.empty((3, 2), np.float32).T,
            "list": lambda x: [1, 2],
            "subclass": lambda x: np.empty((2, 3), np.float32).view(Derived),
        }.items(),
        ids=lambda pair: pair[0],
    )
    def test_unfit_is_dispatched(self, negate, x, unfit):
        out = unfit[1](x)
        before = x.copy()
        assert negate(x, out=out) == "dispatched"
        assert negate.missed[0][1]["out"] is out
        np.testing.assert_array_equal(x, before)

    def test_read_only_is_dispatched(self, negate, x):
        out = np.empty_like(x)
        out.flags.writeable = False
        assert negate(x, out=out) == "dispatched"

    def test_partial_overlap_is_dispatched(self):
        memory = np.arange(10, dtype=np.float32)
        f = Recorder()
        assert f._remember((memory[:6],), (), negation((6,)), None)
        assert f(memory[:6], out=memory[5:10].repeat(2)[:6]).shape == (6,)
        assert f(memory[:6], out=memory[4:]) == "dispatched"
        assert f(memory[4:], out=memory[:6]) == "dispatched"

    def test_overlap_with_a_constant_is_dispatched(self, x):
        memory = np.ones((4, 3), np.float32)
        builder = _core.ProgramBuilder(inputs=[("float32", (2, 3))], outputs=[("float32", (2, 3))])
        spec = _core.ElementwiseSpec(
            shape=(2, 3),
            dtypes=["float32"] * 2,
            strides=[(3, 1)] * 2,
            code=[("add", "float32", (0, 1), ())],
        )
        slots = [builder.input(0), builder.constant(memory[:2])]
        builder.add(spec, x=slots, y=builder.output(0))
        f = Recorder()
        assert f._remember((x,), (), builder.build(), None)
        assert f(x, out=memory[1:3]) == "dispatched"
        assert f(x, out=memory[2:]) is not None
        np.testing.assert_array_equal(memory[2:], x + 1)


class TestReuse:
    def test_dropped_result_comes_again(self, negate, x):
        first = id(negate(x))
        assert all(id(negate(x)) == first for _ in range(5))

    def test_held_results_are_distinct(self, negate, x):
        held = [negate(x) for _ in range(20)]
        assert len({id(y) for y in held}) == 20
        assert len({y.ctypes.data for y in held}) == 20
        x += 1
        negate(x)
        assert all(np.array_equal(y, 1 - x) for y in held)

    def test_result_as_input(self, negate, x):
        y = x
        for _ in range(7):
            y = negate(y)
        np.testing.assert_array_equal(y, -x)

    @pytest.mark.parametrize(
        "hold", [lambda y: y[0], lambda y: memoryview(y), lambda y: weakref.ref(y), lambda y: [y]]
    )
    def test_watched_result_does_not_come_again(self, negate, x, hold):
        held = hold(negate(x))
        expected = -x
        for _ in range(6):
            negate(x + 1)
        seen = held() if isinstance(held, weakref.ref) else held
        if isinstance(seen, list):
            seen = seen[0]
        assert np.array_equal(np.asarray(seen).ravel()[:3], expected.ravel()[:3])

    @pytest.mark.parametrize(
        "change",
        {
            "shape": lambda y: setattr(y, "shape", (6,)),
            "dtype": lambda y: setattr(y, "dtype", np.int32),
            "read-only": lambda y: setattr(y.flags, "writeable", False),
        }.items(),
        ids=lambda pair: pair[0],
    )
    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_altered_result_does_not_come_again(self, negate, x, change):
        change[1](negate(x))
        y = negate(x)
        assert (y.shape, y.dtype, y.flags.writeable) == ((2, 3), np.float32, True)
        np.testing.assert_array_equal(y, -x)

    def test_no_reference_is_lost_or_kept(self, negate, x):
        y, out = negate(x), np.empty_like(x)
        before = sys.getrefcount(x), sys.getrefcount(out), sys.getrefcount(negate)
        for _ in range(100):
            negate(x)
            negate(x, out=out)
            negate(x, 1)
        negate.missed.clear()
        assert (sys.getrefcount(x), sys.getrefcount(out), sys.getrefcount(negate)) == before
        assert sys.getrefcount(y) == 3


class TestReturns:
    def program(self):
        builder = _core.ProgramBuilder(inputs=[("float32", (3,))], outputs=[("float32", (3,))] * 6)
        for index in range(6):
            fill = _core.FillSpec(dtype="float32", count=3, value=float(index))
            builder.add(fill, y=builder.output(index))
        return builder.build()

    def test_tuple(self):
        f, x = Recorder(), np.zeros(3, np.float32)
        with pytest.raises(ValueError, match="one output"):
            f._remember((x,), (), self.program(), None)
        assert f._remember((x,), (), self.program(), "tuple")
        ys = f(x)
        assert type(ys) is tuple
        assert [y.tolist() for y in ys] == [[i] * 3 for i in range(6)]
        assert f(x, out=np.zeros(3, np.float32)) == "dispatched"

    def test_converter(self, x):
        f = Recorder()
        assert f._remember((x,), (), negation(), lambda ys: {"y": ys[0]})
        assert f(x)["y"].tolist() == (-x).tolist()

    def test_converter_raises(self, x):
        def fail(ys):
            raise KeyError("mine")

        f = Recorder()
        assert f._remember((x,), (), negation(), fail)
        with pytest.raises(KeyError, match="mine"):
            f(x)

    def test_forgetting_while_running(self, x):
        f = Recorder()

        def forget(ys):
            f._forget()
            gc.collect()
            return ys[0]

        assert f._remember((x,), (), negation(), forget)
        np.testing.assert_array_equal(f(x), -x)
        assert f(x) == "dispatched"


class TestMemory:
    def test_forget(self, negate, x):
        negate._forget()
        assert negate(x) == "dispatched"
        negate._forget()

    def test_the_same_call_is_replaced(self, negate, x):
        assert negate._remember((x,), (), programs.unary("square", "float32", (2, 3)), None)
        np.testing.assert_array_equal(negate(x), x * x)
        for _ in range(20):
            assert negate._remember((x,), (), negation(), None)
        np.testing.assert_array_equal(negate(x), -x)

    def test_cycles_are_collected(self, x):
        f = Recorder()
        assert f._remember((x, f), (), negation(), lambda ys, f=f: ys[0], keep=[f])
        np.testing.assert_array_equal(f(x, f), -x)
        gone = weakref.ref(f)
        del f
        gc.collect()
        assert gone() is None

    def test_keep_and_program_live_as_long_as_the_entry(self, x):
        class Kept:
            pass

        kept = Kept()
        gone = weakref.ref(kept)
        f = Recorder()
        assert f._remember((x,), (), negation(), None, keep=kept)
        del kept
        gc.collect()
        assert gone() is not None
        f._forget()
        assert gone() is None

    def test_no_growth(self, x):
        f = Recorder()
        tracemalloc.start()
        for _ in range(2000):
            assert f._remember((x, "a", 1.5), ("m", "p"), negation(), None)
            f(x, m="a", p=1.5)
            f._forget()
        gc.collect()
        size = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert size < 20_000


def test_bad_index_is_an_error_and_passes(x):
    table = np.arange(12, dtype=np.float32).reshape(1, 4, 3)
    indices = np.array([[[3], [0]]], np.int64)
    f = Recorder()
    assert f._remember((table, indices), (), programs.gather("float32", (1, 4, 3), 2), None)
    assert f(table, indices).tolist() == table[:, [3, 0]].tolist()
    for bad in (4, -1, 2**62):
        with pytest.raises(IndexError, match=rf"gather: .*got {bad}; expected .* 0 to 3"):
            f(table, np.array([[[0], [bad]]], np.int64))
        assert f(table, indices).tolist() == table[:, [3, 0]].tolist()


def test_failed_allocation_is_a_memory_error(x):
    # The 1st, 2nd, ... allocation of remembering and of a call fails, until none is left to fail.
    held = []
    for n in range(1, 50):
        f = Recorder()
        _core.fail_allocation(n)
        try:
            f._remember((x,), (), negation(), None)
            held += [f(x), f(x)]
            break
        except MemoryError:
            pass
        finally:
            _core.fail_allocation(0)
        assert f._remember((x,), (), negation(), None)
        np.testing.assert_array_equal(f(x), -x)
    assert n > 4
    assert len(held) == 2


@pytest.mark.alone
def test_long_calls_leave_the_gil():
    n = 1 << 22
    x = np.full(n, 0.5, np.float32)
    f = Recorder()
    code = [("erf", "float32", (i,), ()) for i in range(10)]
    assert f._remember((x,), (), programs.chain([("float32", (n,))], code, "float32"), None)
    moments, done = [], threading.Event()

    def watch() -> None:
        while not done.is_set():
            moments.append(time.perf_counter())
            time.sleep(0)

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    f(x)
    end = time.perf_counter()
    done.set()
    watcher.join()
    margin = (end - start) / 10
    assert any(start + margin < moment < end - margin for moment in moments)
    assert f.missed == []
