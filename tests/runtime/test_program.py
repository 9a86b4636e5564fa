# SPDX-License-Identifier: Apache-2.0
"""ProgramBuilder and Program: what they refuse, how constants follow their versions, randomness."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest

import programs
from lamella import _core


def builder(inputs=(("float32", (4,)),), outputs=(("float32", (4,)),)):
    return _core.ProgramBuilder(inputs=list(inputs), outputs=list(outputs))


def product(w, version=None, m=4):
    """x @ w with w packed ahead."""
    k, n = w.shape
    build = builder(inputs=[("float32", (m, k))], outputs=[("float32", (m, n))])
    spec = programs.product("float32", m, n, k, constant=True)
    build.add(spec, a=build.input(0), b=build.constant(w, version), y=build.output(0))
    return build.build()


def fill(count):
    return _core.FillSpec(dtype="float32", count=count, value=1.0)


class TestBuilder:
    def test_slots(self):
        build = builder()
        build.range(16)
        whole = build.range(256)
        slot = whole.shifted(64)
        assert (slot.buffer, slot.range, slot.offset) == (0, 1, 64)
        assert slot.shifted(8).offset == 72
        assert slot == whole.shifted(32).shifted(32)
        assert slot != whole
        assert slot != build.range(256).shifted(64)
        assert hash(slot) == hash(whole.shifted(64))
        assert repr(slot) == "Slot(range=1, offset=64)"
        buffers = [build.input(0), build.output(0), build.constant(np.zeros(3, np.float32))]
        assert [(s.buffer, s.range) for s in buffers] == [(1, None), (2, None), (3, None)]
        assert repr(buffers[0].shifted(4)) == "Slot(buffer=1, offset=4)"

    @pytest.mark.parametrize(
        "wrong",
        [
            lambda b: b.input(1),
            lambda b: b.output(1),
            lambda b: b.add(fill(5), y=b.output(0)),
            lambda b: b.add(fill(1), y=b.output(0).shifted(16)),
            lambda b: b.add(fill(1), y=b.input(0)),
            lambda b: b.add(fill(65), y=b.range(256)),
            lambda b: b.add(fill(1), y=b.range(256).shifted(256)),
            lambda b: b.number("float32", "square", 3),
            lambda b: b.number("bool", "value", 3),
            lambda b: b.number("int64", "reciprocal", 3),
        ],
    )
    def test_what_lies_outside_is_refused(self, wrong):
        with pytest.raises(ValueError):
            wrong(builder())

    def test_a_slot_of_another_builder_is_refused(self):
        other = builder()
        for _ in range(3):
            slot = other.constant(np.zeros(4, np.float32))
        with pytest.raises(ValueError, match="no buffer"):
            builder().add(fill(1), y=slot)

    @pytest.mark.parametrize("shape", [(2**31, 2**33), (2**62, 2**62), (2**61,), (0, 2**62, 4)])
    def test_sizes_that_do_not_fit(self, shape):
        with pytest.raises(OverflowError, match="does not fit"):
            builder(inputs=[("float32", shape)])
        slot = builder().range(8).shifted(8)
        with pytest.raises(OverflowError):
            slot.shifted(2**63 - 1)

    def test_unknown_dtype_and_isa(self):
        with pytest.raises(ValueError, match=r"got 'int16'; expected float32"):
            builder(inputs=[("int16", (1,))])
        with pytest.raises(ValueError, match=r"got 'mmx'; expected one of baseline"):
            _core.ProgramBuilder(inputs=[], outputs=[], isa="mmx")
        with pytest.raises(ValueError, match="no such instruction set"):
            _core.select_isa("mmx")

    @pytest.mark.parametrize(
        "array",
        [
            np.zeros((4, 4), np.float32).T[1:],
            np.zeros(4, np.int16),
            np.zeros(4, ">f4"),
            np.zeros(17, np.uint8)[1:].view(np.float32),
        ],
    )
    def test_constants_are_plain(self, array):
        with pytest.raises(ValueError, match="constant: got"):
            builder().constant(array)

    @pytest.mark.parametrize("version", [np.zeros(2, np.int64), np.zeros(1, np.int32)])
    def test_versions_are_one_integer(self, version):
        with pytest.raises(ValueError, match=r"expected int64 \(1,\)"):
            builder().constant(np.zeros(4, np.float32), version)

    def test_builds_once(self):
        build = builder()
        build.add(fill(4), y=build.output(0))
        program = build.build()
        assert program.steps == ["fill"]
        assert program.inputs == program.outputs == [("float32", (4,))]
        assert program.cost_ns > 0
        for use in (build.build, lambda: build.constant(np.zeros(1, np.float32))):
            with pytest.raises(ValueError, match="already built"):
                use()

    def test_instruction_set(self, isa):
        assert programs.unary("exp", "float32", (4,)).isa == isa
        assert _core.ProgramBuilder(inputs=[], outputs=[]).build().isa == isa
        assert isa in _core.isas()


class TestRun:
    program = staticmethod(lambda: programs.unary("neg", "float32", (2, 3)))

    def test_results(self):
        x = np.arange(6, dtype=np.float32).reshape(2, 3)
        (y,) = self.program().run([x])
        np.testing.assert_array_equal(y, -x)
        out = np.empty_like(x)
        (same,) = self.program().run([x], [out])
        assert same is out
        np.testing.assert_array_equal(out, -x)

    @pytest.mark.parametrize(
        "x",
        [
            np.zeros((3, 2), np.float32),
            np.zeros(6, np.float32),
            np.zeros((2, 3), np.float64),
            np.zeros((2, 3), ">f4"),
            np.zeros((3, 2), np.float32).T,
            np.zeros(25, np.uint8)[1:].view(np.float32).reshape(2, 3),
            np.broadcast_to(np.float32(1), (2, 3)),
        ],
    )
    def test_arrays_must_be_exact(self, x):
        with pytest.raises(ValueError, match=r"run: input 0 is .*expected float32 \(2, 3\)"):
            self.program().run([x])
        good = np.zeros((2, 3), np.float32)
        with pytest.raises(ValueError, match=r"run: output 0 is"):
            self.program().run([good], [x])

    def test_counts_and_sharing(self):
        x = np.zeros((2, 3), np.float32)
        with pytest.raises(ValueError, match="got 0 inputs; expected 1"):
            self.program().run([])
        with pytest.raises(ValueError, match="got 2 outputs; expected 1"):
            self.program().run([x], [x, x])
        with pytest.raises(ValueError, match="shares memory"):
            self.program().run([x], [x])
        with pytest.raises(TypeError):
            self.program().run([[1, 2]])
        x.flags.writeable = False
        self.program().run([x])
        with pytest.raises(ValueError, match="read-only"):
            self.program().run([x.copy()], [x])

    def test_nothing_at_all(self):
        empty = _core.ProgramBuilder(inputs=[], outputs=[]).build()
        assert empty.run([]) == ()
        (y,) = programs.unary("neg", "float32", (0, 3)).run([np.zeros((0, 3), np.float32)])
        assert y.shape == (0, 3)

    def test_many_dimensions(self):
        shape = (2, 1, 3, 1, 2, 1, 2)
        x = np.arange(24, dtype=np.float64).reshape(shape)
        (y,) = programs.unary("square", "float64", shape).run([x])
        np.testing.assert_array_equal(y, x * x)


class TestConstants:
    def test_are_read_where_they_are_and_kept_alive(self):
        constant = np.arange(4, dtype=np.float32)
        build = builder()
        slots = [build.input(0), build.constant(constant)]
        spec = _core.ElementwiseSpec(
            shape=(4,),
            dtypes=["float32"] * 2,
            strides=[(1,)] * 2,
            code=[("add", "float32", (0, 1), ())],
        )
        build.add(spec, x=slots, y=build.output(0))
        program = build.build()
        del build
        x = np.ones(4, np.float32)
        assert program.run([x])[0].tolist() == [1, 2, 3, 4]
        constant += 10
        assert program.run([x])[0].tolist() == [11, 12, 13, 14]
        gone = weakref.ref(constant)
        del constant, slots
        gc.collect()
        assert gone() is not None
        assert program.run([x])[0].tolist() == [11, 12, 13, 14]
        del program
        gc.collect()
        assert gone() is None

    @pytest.mark.parametrize("n", [1, 8, 16, 40])
    def test_packed_weights_follow_their_version(self, rng, n):
        w = rng.integers(-8, 8, (24, n)).astype(np.float32)
        x = rng.integers(-8, 8, (4, 24)).astype(np.float32)
        version = np.zeros(1, np.int64)
        first, second = product(w, version), product(w, version)
        np.testing.assert_array_equal(first.run([x])[0], x @ w)
        for _ in range(3):
            w += 1
            version += 1
            _core.touch_parameters()
            np.testing.assert_array_equal(first.run([x])[0], x @ w)
        np.testing.assert_array_equal(second.run([x])[0], x @ w)

    def test_packing_while_others_run(self, rng):
        """A run sees the weights of one version, whatever is packed meanwhile."""
        n, m = 128, 512
        base = rng.integers(-3, 3, (64, n)).astype(np.float32)
        w, version = base.copy(), np.zeros(1, np.int64)
        program = product(w, version, m)
        assert program.cost_ns > 20_000
        x = np.zeros((m, 64), np.float32)
        x[:, 0] = 1
        wrong, stop = [], threading.Event()

        def run() -> None:
            while not stop.is_set():
                (y,) = program.run([x])
                if len(np.unique(y - base[0])) != 1:
                    wrong.append(y)

        threads = [threading.Thread(target=run) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(300):
            w += 1
            version += 1
            _core.touch_parameters()
            (y,) = program.run([x])
            np.testing.assert_array_equal(y[0], w[0])
        stop.set()
        for thread in threads:
            thread.join()
        assert not wrong


class TestRandom:
    def test_a_seed_fixes_a_sequence_of_runs(self):
        x = np.ones(1000, np.float32)
        program = programs.dropout("float32", 1000, 0.5)
        before = _core.random_state()
        try:
            _core.seed(11)
            assert _core.random_state() == (11, 0)
            a = [program.run([x])[0] for _ in range(3)]
            assert _core.random_state() == (11, 3)
            _core.seed(11)
            program.run([x])
            programs.unary("neg", "float32", (1000,)).run([x])
            b = program.run([x])[0]
            np.testing.assert_array_equal(a[1], b)
            assert not np.array_equal(a[0], a[1])
            _core.set_random_state(11, 2)
            np.testing.assert_array_equal(program.run([x])[0], a[2])
        finally:
            _core.set_random_state(*before)

    def test_building_draws_nothing(self):
        before = _core.random_state()
        programs.dropout("float32", 10, 0.5)
        assert _core.random_state() == before


def test_failed_allocation_is_a_memory_error(rng):
    w = rng.standard_normal((40, 32)).astype(np.float32)
    x = rng.standard_normal((4, 40)).astype(np.float32)
    version = np.zeros(1, np.int64)
    expected = product(w).run([x])[0]
    failures = 0
    for n in range(1, 100):
        _core.fail_allocation(n)
        try:
            program = product(w, version)
            program.run([x])
            break
        except MemoryError:
            failures += 1
        finally:
            _core.fail_allocation(0)
    assert failures == n - 1 >= 5
    # A failure while running or packing again leaves the program usable.
    for n in range(1, 4):
        version += 1
        _core.touch_parameters()
        _core.fail_allocation(n)
        try:
            program.run([x])
        except MemoryError:
            pass
        finally:
            _core.fail_allocation(0)
        np.testing.assert_array_equal(program.run([x])[0], expected)


def run_python(code, **environment):
    """A fresh interpreter with these environment variables."""
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=120,
    )


GUARDED = """
from lamella import _core
import numpy as np
assert _core.guard_bytes() == 64
b = _core.ProgramBuilder(inputs=[], outputs=[("float32", (16,))])
cell = b.range(64)
b.add(_core.FillSpec(dtype="float32", count=16, value=2.0), y=cell)
copy = _core.CopySpec(item_bytes=4, shape=(16,), x_strides=(1,), y_strides=(1,))
b.add(copy, x=cell, y=b.output(0))
p = b.build()
assert p.arena_bytes == 64 + 64 + 64
for _ in range(2):
    if {damage} is not None:
        _core.damage_arena({damage})
    try:
        p.run([])
        print("whole")
    except RuntimeError as error:
        print(error)
"""


def test_guard_bytes_find_a_write_beside_an_array():
    whole = run_python(GUARDED.format(damage=None), LAMELLA_GUARD_BYTES="1")
    assert whole.stdout.splitlines() == ["whole", "whole"], whole.stderr
    behind = run_python(GUARDED.format(damage=128), LAMELLA_GUARD_BYTES="1")
    assert behind.stdout.count("byte 128 of the arena") == 2, behind.stderr
    inside = run_python(GUARDED.format(damage=127), LAMELLA_GUARD_BYTES="1")
    assert inside.stdout.splitlines() == ["whole", "whole"], inside.stderr
    before = run_python(GUARDED.format(damage=60), LAMELLA_GUARD_BYTES="1")
    assert before.stdout.count("byte 60 of the arena") == 2, before.stderr
    off = run_python(
        "from lamella import _core; print(_core.guard_bytes())", LAMELLA_GUARD_BYTES="0"
    )
    assert off.stdout == "0\n"


def test_instruction_set_from_the_environment():
    code = "from lamella import _core; print(_core.isa())"
    for isa in _core.isas():
        assert run_python(code, LAMELLA_ISA=isa).stdout.strip() == isa
    assert run_python(code, LAMELLA_ISA="").stdout.strip() == _core.isas()[-1]
    wrong = run_python(code, LAMELLA_ISA="mmx")
    assert wrong.returncode == 1
    assert "ImportError: environment variable LAMELLA_ISA: isa: no such" in wrong.stderr
    assert "expected one of baseline" in wrong.stderr


def test_caches_from_a_description(tmp_path):
    rows = [("1", "Data", "48K"), ("1", "Instruction", "32K"), ("2", "Unified", "2M")]
    for index, (level, kind, size) in enumerate(rows):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        for name, text in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(text + "\n")
    sizes = _core.cache_sizes(str(tmp_path))
    assert (sizes["l1"], sizes["l2"]) == (48 << 10, 2 << 20)
    assert sizes["l3"] == _core.cache_sizes(str(tmp_path / "none"))["l3"]
    assert all(size > 0 for size in _core.cache_sizes().values())
