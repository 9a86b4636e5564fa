# SPDX-License-Identifier: Apache-2.0
"""Texts: programs of other sizes are those that are built there; nothing reaches outside."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest

import lamella as lm
from lamella import _core, nn
from lamella import functional as F
from lamella.ir.extent import Extents
from lamella.runtime.session import compile_call
from lamella.runtime.trace import current

W = np.linspace(-1, 1, 40 * 24, dtype=np.float32).reshape(40, 24)
VERSION = np.zeros(1, np.int64)


def record(n, formulas=()):
    """softmax((x @ W / n) , twice as long, its second half into the output), for x of (n, 40)."""
    builder = _core.ProgramBuilder(
        inputs=[("float32", (n, 40))], outputs=[("float32", (n, 24))], formulas=formulas
    )
    y, both = builder.range(n * 24 * 4), builder.range(2 * n * 24 * 4)
    product = _core.MatMulSpec(
        dtype="float32", b_dtype="float32", batch=(), m=n, n=24, k=40, a_batch=(), a_row=40,
        a_k=1, b_batch=(), b_k=24, b_col=1, b_constant=True,
    )  # fmt: skip
    builder.add(product, a=builder.input(0), b=builder.constant(W, VERSION), y=y)
    scale = _core.ElementwiseSpec(
        shape=(n, 24), dtypes=["float32"] * 2, strides=[(24, 1), (0, 0)],
        code=[("mul", "float32", (0, 1), ())],
    )  # fmt: skip
    builder.add(scale, x=[y, builder.number("float32", "reciprocal", n)], y=y)
    fill = _core.FillSpec(dtype="float32", count=2 * n * 24, value=1.0)
    builder.add(fill, y=both)
    second = both.shifted(n * 24 * 4)
    copy = _core.CopySpec(item_bytes=4, shape=(n, 24), x_strides=(24, 1), y_strides=(24, 1))
    builder.add(copy, x=y, y=second)
    softmax = _core.SoftmaxSpec(dtype="float32", rows=n, cols=24, log=False)
    builder.add(softmax, x=second, y=builder.output(0))
    return builder.build()


def text_of(size=5, record=record, **changes):
    extents = Extents()
    n = extents.symbol(size)
    extents.lowering = True
    program = record(n, extents.formulas)
    keywords = {"symbols": [[(0, 0)]], "conditions": extents.conditions, **changes}
    return program.text(**keywords)


class TestRecorded:
    def test_any_size_is_what_is_built_there(self):
        text = text_of()
        for n in (2, 3, 5, 64, 1000, 4097):
            made, built = text.at([n]), record(n)
            assert _core.difference(made, built) is None
            assert made.arena_bytes == built.arena_bytes
            assert made.inputs == built.inputs
            assert made.ranges == built.ranges
            x = np.linspace(-2, 2, n * 40, dtype=np.float32).reshape(n, 40)
            assert made.run([x])[0].tobytes() == built.run([x])[0].tobytes()

    def test_symbols_and_memory_are_told(self):
        text = text_of()
        assert text.symbols == [[(0, 0)]]
        made = text.at([7])
        assert 0 < made.nbytes < record(7).nbytes
        assert 0 < text.nbytes < 100_000
        assert made.nbytes < 5_000

    @pytest.mark.parametrize(
        ("extents", "words"),
        [
            ([1], "extent of 1; expected 2 or more"),
            ([0], "extent of 0"),
            ([-5], "extent of -5"),
            ([], "got 0 extents; expected 1"),
            ([2, 2], "got 2 extents; expected 1"),
            ([2**60], "does not fit"),
            ([2**62], "does not fit"),
        ],
    )
    def test_no_such_sizes(self, extents, words):
        with pytest.raises(ValueError, match=rf"^text: .*{words}"):
            text_of().at(extents)

    def test_arenas_beyond_memory(self):
        for n in (2**31 + 5, 2**45):
            made = text_of().at([n])
            assert made.inputs == [("float32", (n, 40))]
        assert made.arena_bytes > 2**50

    def test_conditions(self):
        extents = Extents()
        n = extents.symbol(5)
        assert n < 9
        extents.lowering = True
        program = record(n, extents.formulas)
        text = program.text(symbols=[[(0, 0)]], conditions=extents.conditions)
        assert _core.difference(text.at([8]), record(8)) is None
        with pytest.raises(ValueError, match="a condition does not hold"):
            text.at([9])

    def test_formulas_have_to_give_what_was_recorded(self):
        class Lies(list):
            def __iter__(self):
                return (("constant", 1, 0) if one[0] == "constant" else one for one in told)

        def lying(n, formulas):
            nonlocal told
            told = formulas
            return record(n, Lies())

        told = []
        with pytest.raises(ValueError, match=r"^(text: formulas give other numbers|slot: )"):
            text_of(record=lying)
        with pytest.raises(ValueError, match="no formula"):
            text_of(record=lambda n, formulas: record(n, ()))
        with pytest.raises(ValueError, match="was not recorded as this extent"):
            record(5).text(symbols=[[(0, 0)]])
        for formulas in (
            [("symbol", 1, 0)],
            [("symbol", 0, 0), ("add", 0, 1)],
            [("symbol", 0, 0), ("mul", -1, 0)],
            [("power", 0, 0)],
        ):
            with pytest.raises(ValueError, match=r"before it|no kind of formula"):
                text_of(record=lambda n, _, f=formulas: record(5, f))

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"symbols": [[(0, 2)]]}, "no axis 2 of an input 0"),
            ({"symbols": [[(1, 0)]]}, "no axis 0 of an input 1"),
            ({"symbols": [[(0, 0), (0, 1)]]}, "different sizes"),
            ({"symbols": [[(0, 1)]]}, "axis 1 of input 0 was not recorded as this extent"),
            ({"symbols": [[]]}, "has to show"),
            ({"symbols": []}, "before it"),
            ({"conditions": [("eq", 0, 99)]}, "unknown formulas"),
            ({"conditions": [("gt", 0, 0)]}, "no kind of formula"),
            ({"conditions": [("ne", 0, 0)]}, "a condition does not hold"),
        ],
    )
    def test_what_makes_no_text(self, changes, words):
        with pytest.raises(ValueError, match=words):
            text_of(**changes)

    def test_a_slice_beyond_its_array(self):
        """Reads ten rows from row n - 5 of an input of 20: fits for some sizes only."""

        def cut(n, formulas):
            builder = _core.ProgramBuilder(
                inputs=[("float32", (n,)), ("float32", (20, 3))],
                outputs=[("float32", (10, 3))],
                formulas=formulas,
            )
            copy = _core.CopySpec(item_bytes=4, shape=(10, 3), x_strides=(3, 1), y_strides=(3, 1))
            x = builder.input(1).shifted((n - 5) * 12)
            builder.add(copy, x=x, y=builder.output(0))
            return builder.build()

        text = text_of(8, cut)
        for n in (5, 15):
            assert _core.difference(text.at([n]), cut(n, ())) is None
        for n in (4, 16, 10**6, 2**40):
            with pytest.raises(ValueError, match=r"slot: got offset|no such sizes"):
                text.at([n])

    def test_prepared_arrays_are_the_texts_own(self):
        """Only the packing that was recorded: not that of more columns of the constant."""

        def product(n, formulas):
            builder = _core.ProgramBuilder(
                inputs=[("float32", (3, n))], outputs=[("float32", (3, 24))], formulas=formulas
            )
            spec = _core.MatMulSpec(
                dtype="float32", b_dtype="float32", batch=(), m=3, n=24, k=n, a_batch=(), a_row=n,
                a_k=1, b_batch=(), b_k=24, b_col=1, b_constant=True,
            )  # fmt: skip
            slots = {"a": builder.input(0), "b": builder.constant(W, VERSION)}
            builder.add(spec, **slots, y=builder.output(0))
            return builder.build()

        text = text_of(30, product, symbols=[[(0, 1)]])
        assert _core.difference(text.at([30]), product(30, ())) is None
        for n in (29, 31):
            with pytest.raises(ValueError, match="something else would have to be prepared"):
                text.at([n])

    def test_many_threads(self):
        text = text_of()
        programs = {n: record(n) for n in range(2, 30)}
        wrong = []

        def make(first):
            for i in range(200):
                n = 2 + (first + i) % 28
                found = _core.difference(text.at([n]), programs[n])
                if found is not None:
                    wrong.append(found)

        threads = [threading.Thread(target=make, args=(7 * i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong

    def test_failed_allocations(self):
        text = text_of()
        for number in range(1, 40):
            _core.fail_allocation(number)
            try:
                made = text.at([11])
                break
            except MemoryError:
                pass
            finally:
                _core.fail_allocation(0)
        assert number > 3
        assert _core.difference(made, record(11)) is None

    def test_programs_outlive_their_text(self):
        text = text_of()
        made = text.at([6])
        del text
        gc.collect()
        assert _core.difference(made, record(6)) is None


class TestDifference:
    def test_names_the_number(self):
        found = _core.difference(record(4), record(5))
        assert found == "input 0: float32 (4, 40) against float32 (5, 40)"

    @pytest.mark.parametrize(
        ("a", "b", "words"),
        [
            (lambda x: x * 2.0, lambda x: x * 3.0, "another constant"),
            (lambda x: x * 0.0, lambda x: x * -0.0, "another constant"),
            (lambda x: x.exp(), lambda x: x.tanh(), "step 0, ElementwiseSpec: code"),
            (lambda x: x.exp(), lambda x: x.sum(0).expand(4, 4), "step 0, ElementwiseSpec against"),
            (lambda x: x.softmax(), lambda x: F.log_softmax(x, -1), "log: False against True"),
            (lambda x: x.exp().sum(), lambda x: x.exp().sum(1).sum(), "output|step|ranges"),
        ],
    )
    def test_finds_what_differs(self, a, b, words):
        x = np.ones((4, 4), np.float32)
        one, other = (compile_call(body, [x]).program for body in (a, b))
        assert _core.difference(one, compile_call(a, [x]).program) is None
        with pytest.raises(AssertionError, match=words):
            assert not _core.difference(one, other), _core.difference(one, other)

    def test_constants_with_versions_are_themselves(self):
        x = np.ones((4, 4), np.float32)
        v, w = (nn.Parameter(np.ones((4, 4), np.float32)) for _ in range(2))
        one, other = (compile_call(lambda x, p=p: x + p, [x]).program for p in (v, w))
        assert "another constant" in _core.difference(one, other)
        assert _core.difference(one, compile_call(lambda x: x + v, [x]).program) is None


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.inward, self.outward = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.heads = heads

    def forward(self, x):
        batch, length, width = x.shape
        split = self.inward(self.first(x)).reshape(batch, length, 3, self.heads, -1)
        q, k, v = split.permute(2, 0, 3, 1, 4)
        seen = F.softmax(q @ k.mT * (width // self.heads) ** -0.5, -1) @ v
        x = x + self.outward(seen.permute(0, 2, 1, 3).reshape(batch, length, width))
        return x + self.down(F.gelu(self.up(self.second(x))))


def nets():
    yield "mlp", nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 4)), (5, 64), [0]
    yield "transformer", nn.Sequential(Block(32, 4), Block(32, 4)), (3, 7, 32), [0, 1]
    norm = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))
    yield "norm", norm, (5, 6), [0]


@pytest.mark.parametrize(
    ("name", "net", "shape", "axes"), list(nets()), ids=lambda one: str(one)[:11]
)
def test_nets_of_any_size(name, net, shape, axes):
    net.eval()
    free = [[(0, axis)] for axis in axes]
    compiled = compile_call(net.forward, [np.zeros(shape, np.float32)], free=free)
    assert compiled.extents.reasons == []
    text = compiled.program.text(symbols=free, conditions=compiled.extents.conditions)
    rng = np.random.default_rng(3)
    for sizes in rng.integers(2, 90, (12, len(axes))).tolist():
        own = list(shape)
        for axis, size in zip(axes, sizes, strict=True):
            own[axis] = size
        x = rng.standard_normal(own).astype(np.float32)
        made, built = text.at(sizes), compile_call(net.forward, [x]).program
        assert _core.difference(made, built) is None
        assert made.arena_bytes == built.arena_bytes
        assert made.run([x])[0].tobytes() == built.run([x])[0].tobytes()
    assert made.nbytes < 60_000


def test_a_training_step_of_any_batch():
    def step(x, target):
        y = (x @ w).tanh()
        loss = ((y - target) ** 2).mean()
        trace = current()
        trace.update(w, w - (x.mT @ (y - target)) * 0.1)
        return loss

    w = nn.Parameter(np.full((6, 3), 0.1, np.float32))
    free = [[(0, 0), (1, 0)]]
    arrays = [np.ones((5, 6), np.float32), np.ones((5, 3), np.float32)]
    compiled = compile_call(step, arrays, free=free)
    assert compiled.extents.reasons == []
    text = compiled.program.text(symbols=free, conditions=compiled.extents.conditions)
    rng = np.random.default_rng(0)
    for n in (2, 3, 17, 64):
        arrays = [rng.standard_normal((n, size)).astype(np.float32) for size in (6, 3)]
        built = compile_call(step, arrays).program
        assert _core.difference(text.at([n]), built) is None
        before = w.data.copy()
        first = (built.run(arrays)[0].tobytes(), w.data.tobytes())
        w.data = before
        assert (text.at([n]).run(arrays)[0].tobytes(), w.data.tobytes()) == first


def test_calls_use_texts():
    net = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    lm.manual_seed(0)
    for n in range(1, 60):
        x = np.full((n, 8), 0.5, np.float32)
        assert net(x).tobytes() == np.tile(net(x[:1]), (n, 1)).tobytes()
