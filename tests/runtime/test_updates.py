# SPDX-License-Identifier: Apache-2.0
"""Programs that change parameters: wholly or not at all, for every thread that looks.

Arrays are large where threads have to meet in the middle of a run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest

import programs
from graphs import Weight, traced
from lamella import _core, nn
from lamella.functional import dropout, embedding
from lamella.passes import optimize
from lamella.runtime.emit import emit
from lamella.runtime.session import compile_call
from lamella.runtime.trace import current

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
# Enough for a team, and for a run that takes longer than a thread's turn at the GIL.
LARGE = 1 << 20


@pytest.fixture(params=[1, 2, 3])
def team(request):
    before = _core.num_threads()
    _core.set_num_threads(request.param)
    yield request.param
    _core.set_num_threads(before)


class TestFailure:
    """A bad index leaves every parameter as it was."""

    def test_nothing_changes(self, team, rng):
        table = nn.Parameter(rng.normal(size=(8, 4096)), dtype=np.float32)
        weight = nn.Parameter(rng.normal(size=(1024, 4096)), dtype=np.float32)
        copied = nn.Buffer(np.zeros((1024, 4096), np.float32))

        def body(indices):
            now = current()
            new = weight * 0.5 + 1.0
            now.update(weight, new)
            now.update(copied, new)
            rows = embedding(indices, table)
            now.update(table, table - 1.0)
            return rows.exp().sum()

        program = compile_call(body, [np.zeros(1024, np.int64)]).program
        assert program.cost_ns > 1e6
        good = np.arange(1024) % 8
        bad = good.copy()
        bad[-1] = 8
        program.run([good])
        everything = (table, weight, copied)
        before = [(np.array(one.array), int(one.version[0])) for one in everything]
        assert [version for _, version in before] == [1, 1, 1]
        for _ in range(20):
            with pytest.raises(IndexError, match="gather: index out of range; got 8"):
                program.run([bad])
            for one, (values, version) in zip(everything, before, strict=True):
                assert one.array.tobytes() == values.tobytes()
                assert one.version[0] == version
        program.run([good])
        assert np.array_equal(weight.array, before[1][0] * np.float32(0.5) + np.float32(1))
        assert np.array_equal(table.array, before[0][0] - np.float32(1))
        assert [one.version[0] for one in everything] == [2, 2, 2]

    def test_later_steps_do_not_run(self, team):
        builder = _core.ProgramBuilder(
            inputs=[("int64", (1,)), ("float32", (2, LARGE))],
            outputs=[("float32", (LARGE,)), ("float32", (LARGE,))],
        )
        for number in range(2):
            gather = _core.GatherSpec(piece_bytes=4 * LARGE, rows=2, count=1)
            table, indices = builder.input(1), builder.input(0)
            builder.add(gather, x=table, indices=indices, y=builder.output(number))
            fill = _core.FillSpec(dtype="float32", count=LARGE, value=1.0)
            builder.add(fill, y=builder.output(1))
        program = builder.build()
        outs = [np.zeros(LARGE, np.float32) for _ in range(2)]
        for index, failed in [(2, True), (1, False), (-3, True)]:
            outs[1][:] = 0
            arguments = [np.array([index]), np.full((2, LARGE), 2, np.float32)]
            if failed:
                with pytest.raises(IndexError):
                    program.run(arguments, outs)
                assert not outs[1].any()
            else:
                program.run(arguments, outs)
                assert (outs[1] == 1).all()


class TestVersions:
    def test_advance_by_one_and_pack_anew(self):
        w = nn.Parameter(np.eye(3, dtype=np.float32))
        double = compile_call(lambda x: (current().update(w, w * 2), x * 1)[1], [X])
        product = compile_call(lambda x: x @ w, [X])
        for turn in range(1, 4):
            double.run([X])
            assert w.version[0] == turn
            assert np.array_equal(product.run([X]), X * 2**turn)

    def test_modules_in_training_are_answered_natively(self, monkeypatch):
        norm = nn.BatchNorm1d(3)
        before = int(norm.running_mean.version[0])
        norm(X)
        expected = np.array(norm.running_mean.array)

        def missed(*args):
            raise AssertionError("not remembered")

        monkeypatch.setattr(nn.Module, "_dispatch", missed)
        norm(X)
        assert norm.num_batches_tracked.data == 2
        assert np.allclose(
            norm.running_mean.array, 0.9 * expected + 0.1 * X.mean(0), rtol=1e-6, atol=1e-7
        )
        assert norm.running_mean.version[0] == before + 2

    def test_assignments_count_too(self):
        p = nn.Parameter(np.zeros(3, np.float32))
        for number, value in enumerate([[1, 2, 3], np.ones(6)[::2], np.float64(2) * np.ones(3)]):
            p.data = np.asarray(value)
            assert np.array_equal(p.array, value)
            assert p.version[0] == number + 1
        p.data = p.data[::-1] + np.arange(3)
        assert p.data.tolist() == [2, 3, 4]
        p.data = p.data[::-1]
        assert p.data.tolist() == [4, 3, 2]
        assert not p.array.flags.writeable


class TestBuilder:
    def builder(self):
        return _core.ProgramBuilder(inputs=[], outputs=[("float32", (4,))])

    def test_only_declared_constants_are_written(self):
        builder = self.builder()
        fill = _core.FillSpec(dtype="float32", count=4, value=1.0)
        slot = builder.constant(np.zeros(4, np.float32), np.zeros(1, np.int64))
        with pytest.raises(ValueError, match="no update was declared"):
            builder.add(fill, y=slot)
        builder.hold(slot)
        with pytest.raises(ValueError, match="no update was declared"):
            builder.add(fill, y=slot)
        builder.changes(slot)
        builder.add(fill, y=slot)

    @pytest.mark.parametrize("declare", ["changes", "hold", "random_source"])
    def test_what_can_be_declared(self, declare):
        builder = self.builder()
        plain = builder.constant(np.zeros(2, np.int64))
        with pytest.raises(ValueError, match="no version"):
            getattr(builder, declare)(plain)
        for slot in (builder.range(64), builder.output(0)):
            with pytest.raises(ValueError, match="is no constant"):
                getattr(builder, declare)(slot)

    def test_generators_are_two_integers(self):
        builder = self.builder()
        slot = builder.constant(np.zeros(3, np.int64), np.zeros(1, np.int64))
        with pytest.raises(ValueError, match="two int64"):
            builder.random_source(slot)

    @pytest.mark.parametrize("ahead", [True, False])
    def test_what_changes_is_not_packed_ahead(self, ahead):
        builder = _core.ProgramBuilder(
            inputs=[("float32", (2, 32))], outputs=[("float32", (2, 32))]
        )
        w = builder.constant(np.zeros((32, 32), np.float32), np.zeros(1, np.int64))

        def product():
            spec = programs.product("float32", 2, 32, 32, constant=True)
            builder.add(spec, a=builder.input(0), b=w, y=builder.output(0))

        first, second = (product, lambda: builder.changes(w))[:: 1 if ahead else -1]
        first()
        with pytest.raises(ValueError, match="prepared"):
            second()


class TestRandom:
    def program(self, source):
        graph = traced(lambda x: dropout(x, 0.5, True), np.ones(64, np.float32))
        graph.random = source
        return emit(optimize(graph))

    def test_a_program_draws_from_its_own_generator(self):
        x = np.ones(64, np.float32)
        source = nn.Buffer(np.array([7, 0]))
        program = self.program(source)
        shared = _core.random_state()
        first = [program.run([x])[0].tobytes() for _ in range(3)]
        assert len(set(first)) == 3
        assert source.data.tolist() == [7, 3]
        assert source.version[0] == 3
        assert _core.random_state() == shared
        source.data = [7, 1]
        assert [program.run([x])[0].tobytes() for _ in range(2)] == first[1:]
        source.data = [8, 0]
        assert program.run([x])[0].tobytes() not in first

    def test_the_same_draws_as_the_shared_generator(self):
        x = np.ones(64, np.float32)
        before = _core.random_state()
        try:
            _core.set_random_state(7, 5)
            (expected,) = self.program(None).run([x])
        finally:
            _core.set_random_state(*before)
        (got,) = self.program(nn.Buffer(np.array([7, 5]))).run([x])
        assert got.tobytes() == expected.tobytes()


def in_threads(*bodies: Callable[[], None]) -> None:
    """Runs all at once; the first error of any of them is raised here."""
    errors: list[BaseException] = []

    def guarded(body: Callable[[], None]) -> None:
        try:
            body()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


class TestConcurrency:
    """One thread changes w from all k to all k + 1; nobody may see two different elements."""

    RUNS = 60

    def count_up(self, w, b=None):
        def body():
            current().update(w, w + 1.0)
            if b is not None:
                current().update(b, b + 1.0)
            return w.max()

        return compile_call(body, [])

    def test_readers_see_one_state(self, team):
        w = nn.Parameter(np.zeros(LARGE, np.float32))
        step = self.count_up(w)
        read = compile_call(lambda: (w.min(), w.max()), [])
        done = threading.Event()

        def train():
            try:
                for _ in range(self.RUNS):
                    step.run([])
            finally:
                done.set()

        def infer():
            last = 0.0
            while not done.is_set():
                low, high = read.run([])
                assert low == high >= last
                last = high

        in_threads(train, infer, infer)
        assert (w.array == self.RUNS).all()
        assert w.version[0] == self.RUNS

    @pytest.mark.parametrize("bias", [True, False])
    def test_packed_copies_are_of_one_state(self, bias):
        """Several weights, all packed, and a bias that is read where it lies, of one moment."""
        a, b = (nn.Parameter(np.zeros((1024, 512), np.float32)) for _ in range(2))
        c = nn.Parameter(np.zeros(512, np.float32))
        x = np.zeros((1, 1024), np.float32)
        x[0, -1] = 1

        def body():
            for one in (a, b, c):
                current().update(one, one + 1.0)
            return c.sum()

        step = compile_call(body, [])
        read = compile_call(lambda x: (x @ a, (x @ b + c - c) if bias else x @ b), [x])
        done = threading.Event()

        def train():
            try:
                for _ in range(2 * self.RUNS):
                    step.run([])
            finally:
                done.set()

        def infer():
            while not done.is_set():
                first, second = read.run([x])
                assert np.unique(first).size == 1
                assert np.array_equal(second, first)

        in_threads(train, infer, infer)
        for got in read.run([x]):
            assert (got == 2 * self.RUNS).all()

    def test_two_that_train_take_turns(self, team):
        a, b = (nn.Parameter(np.zeros(LARGE // 4, np.float32)) for _ in range(2))
        steps = self.count_up(a, b), self.count_up(b, a)

        def train(step):
            for _ in range(self.RUNS):
                step.run([])

        in_threads(*(lambda step=step: train(step) for step in steps))
        assert (a.array == 2 * self.RUNS).all()
        assert (b.array == 2 * self.RUNS).all()
        assert a.version[0] == b.version[0] == 2 * self.RUNS

    def test_assignments_wait_for_a_run(self, team):
        w = nn.Parameter(np.zeros(LARGE, np.float32))
        step = self.count_up(w)
        values = [np.full(LARGE, 1000.0 * i, np.float32) for i in range(1, 11)]

        def train():
            for _ in range(self.RUNS):
                step.run([])

        def assign():
            for value in values:
                w.data = value

        in_threads(train, assign)
        assert np.unique(w.array).size == 1
        assert w.version[0] == self.RUNS + len(values)

    def test_what_a_step_reads_may_change_before_it_writes(self, team):
        """The step reads the frozen array twice; both readings are of one state."""
        frozen = nn.Parameter(np.zeros(LARGE, np.float32))
        w = nn.Parameter(np.zeros((), np.float32))

        def body():
            low, high = frozen.min(), frozen.max()
            current().update(w, w + (high - low))
            return low * 1

        step = compile_call(body, [])
        done = threading.Event()

        def train():
            try:
                for _ in range(self.RUNS):
                    step.run([])
            finally:
                done.set()

        def assign():
            number = 0
            while not done.is_set():
                number += 1
                frozen.data = np.full(LARGE, number, np.float32)

        in_threads(train, assign)
        assert w.array == 0
        assert w.version[0] == self.RUNS

    def test_strangers_do_not_wait(self):
        """A version that stays negative, of nobody's change, is an error and no hang."""
        w = Weight(np.ones(4, np.float32))
        read = compile_call(lambda: w * 2, [])
        w.version[0] = -5
        _core.touch_parameters()
        with pytest.raises(RuntimeError, match="version of a parameter is negative"):
            read.run([])
        w.version[0] = 3
        assert np.array_equal(read.run([]), np.full(4, 2))
