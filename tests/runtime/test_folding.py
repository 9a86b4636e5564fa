# SPDX-License-Identifier: Apache-2.0
"""Folded values: computed once per version for all programs, and never of another moment."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import lamella as lm
from comparators import same_bits
from lamella import _core, nn
from lamella import functional as F
from lamella.runtime.session import compile_call
from runtime.forking import FORKS

SIZE = 96


class Masked(nn.Module):
    """A dense layer with a mask on its weight."""

    def __init__(self, size: int = SIZE, dtype=np.float32) -> None:
        super().__init__()
        self.weight = nn.Parameter(np.ones((size, size)), dtype=dtype)
        self.mask = nn.Buffer(np.ones((size, size)), dtype=dtype)

    def forward(self, x):
        return F.linear(x, self.weight * self.mask)


def program_of(net, x):
    return compile_call(net, [x])


def inside(bytes_before: int) -> int:
    gc.collect()
    return _core.prepared_arrays()[1] - bytes_before


@pytest.fixture
def net(rng):
    made = Masked()
    made.weight.data = rng.normal(size=(SIZE, SIZE)).astype(np.float32)
    made.mask.data = (rng.random((SIZE, SIZE)) < 0.5).astype(np.float32)
    return made.eval()


def expected(net, x):
    return F.linear(x, F.mul(net.weight.array, net.mask.array))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_size_has_the_bits_of_the_same_work_by_hand(net, rng, dtype):
    net.to(np.dtype(dtype).name)
    for rows in (1, 2, 3, 7, 64, 2):
        x = rng.normal(size=(rows, SIZE)).astype(dtype)
        same_bits(net(x), expected(net, x))


def test_changes_of_either_source_reach_every_program(net, rng):
    inputs = [rng.normal(size=(rows, SIZE)).astype(np.float32) for rows in (1, 2, 7, 30)]
    for step in range(6):
        changed = net.mask if step % 2 else net.weight
        changed.data = rng.normal(size=(SIZE, SIZE)).astype(np.float32)
        for x in inputs[step % 4 :] + inputs[: step % 4]:
            same_bits(net(x), expected(net, x))


def test_the_packed_form_alone_is_kept_and_shared(rng):
    """All batch sizes and a part of a net: one panel copy, and no folded value beside it."""
    gc.collect()
    before = _core.prepared_arrays()
    net = nn.Sequential(Masked(), nn.ReLU()).eval()
    for rows in (1, 2, 3, 5, 9):
        net(np.ones((rows, SIZE), np.float32))
        net[0](np.ones((rows, SIZE), np.float32))
    count, nbytes = _core.prepared_arrays()
    assert count - before[0] == 1
    assert nbytes - before[1] == SIZE * SIZE * 4
    del net
    assert inside(before[1]) == 0


def test_a_value_that_is_read_as_it_is_is_kept_once():
    gc.collect()
    before = _core.prepared_arrays()[0]
    scale = nn.Parameter(np.linspace(0, 1, 64), dtype=np.float32)
    inputs = [np.ones((rows, 64), np.float32) for rows in (1, 2, 3)]
    kept = [compile_call(lambda x: x * F.exp(scale), [x]) for x in inputs]
    for one, x in zip(kept, inputs, strict=True):
        same_bits(one.program.run([x])[0], x * F.exp(scale.array))
        assert one.program.steps == ["elementwise"]
    assert _core.prepared_arrays()[0] - before == 1


def test_forms_of_one_value_stay_apart(net, rng):
    """Read as b, as its transpose, in part, and as it is."""
    x = rng.normal(size=(5, SIZE)).astype(np.float32)

    def body(x):
        w = net.weight * net.mask
        return x @ w, x @ w.T, x[:, :20] @ w[:20, :24], w.reshape(-1)

    got = program_of(body, x).program.run([x])
    w = F.mul(net.weight.array, net.mask.array)
    for one, known in zip(
        got, (F.matmul(x, w), F.matmul(x, w.T), F.matmul(x[:, :20], w[:20, :24]), w.reshape(-1)),
        strict=True,
    ):  # fmt: skip
        same_bits(one, known)


def test_equal_work_on_other_constants_stays_apart(net, rng):
    x = rng.normal(size=(3, SIZE)).astype(np.float32)
    for factor in (2.0, 3.0, -0.0, 0.0):
        got = program_of(lambda x, f=factor: F.linear(x, net.weight * f), x)
        assert got.graph.folded()
        same_bits(got.program.run([x])[0], F.linear(x, net.weight.array * np.float32(factor)))
    big = rng.normal(size=(2, SIZE, SIZE)).astype(np.float32)
    for mask in big:
        frozen = mask.copy()
        got = program_of(lambda x, m=frozen: F.linear(x, net.weight * m), x)
        same_bits(got.program.run([x])[0], F.linear(x, net.weight.array * mask))


def test_instruction_sets_stay_apart(net, rng):
    x = rng.normal(size=(3, SIZE)).astype(np.float32)
    before, kept = _core.isa(), []
    try:
        for isa in _core.isas():
            _core.select_isa(isa)
            body = lambda x: F.linear(x, F.tanh(net.weight))  # noqa: E731
            kept.append((program_of(body, x).program, F.linear(x, F.tanh(net.weight.array)).copy()))
    finally:
        _core.select_isa(before)
    for program, known in kept:
        same_bits(program.run([x])[0], known)


def test_sizes_of_one_text_share_it(rng):
    """A table's rows are cut to the size of the call; a scale is not, and is the same for all."""

    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(rng.normal(size=(40, SIZE)), dtype=np.float32)
            self.inner = Masked()

        def forward(self, x):
            return self.inner(x + self.table[: x.shape[0]].tanh())

    net = Positions().eval()
    gc.collect()
    before = _core.prepared_arrays()[0]
    for rows in (5, 6, 7, 11, 13, 17, 19):
        x = rng.normal(size=(rows, SIZE)).astype(np.float32)
        known = F.linear(x + F.tanh(net.table.array[:rows]), net.inner.weight.array)
        same_bits(net(x), known)
    assert "any n; a new size needs no compilation" in str(lm.explain(net, x))
    # The mask's, and the first sizes' rows, which were compiled alone.
    assert _core.prepared_arrays()[0] - before <= 3


def test_training_does_not_fold_and_is_seen(rng):
    net = Masked(16)
    step = lm.TrainStep(net, nn.MSELoss(), lm.optim.SGD(net.parameters(), lr=0.1))
    x, y = rng.normal(size=(2, 8, 16)).astype(np.float32)
    before = net.eval()(x)
    for _ in range(3):
        net.train()
        step(x, y)
        net.eval()
        same_bits(net(x), expected(net, x))
    assert not np.array_equal(net(x), before)
    assert "computed of parameters alone" not in str(lm.explain(step, x, y))


def test_batch_norm_folds_in_inference_only(rng):
    net = nn.BatchNorm1d(8)
    x = rng.normal(size=(16, 8)).astype(np.float32)
    assert not program_of(net, x).graph.folded()
    net(x)
    net.eval()
    (scale,) = program_of(net, x).graph.folded()
    assert scale.shape == (8,)
    reference = (x - net.running_mean.array) * F.mul(
        F.rsqrt(net.running_var.array + np.float32(1e-5)), net.weight.array
    ) + net.bias.array
    same_bits(net(x), reference)


def test_explain_and_config_say_so(net):
    x = np.ones((1, SIZE), np.float32)
    text = str(lm.explain(net, x))
    assert "computed of parameters alone" in text
    assert f"mul of weight, mask = float32 ({SIZE}, {SIZE})  ({4 * SIZE * SIZE} bytes" in text
    net(x)
    assert lm.config()["programs"]["packed and folded weights"] >= 1
    assert lm.config()["programs"]["bytes of those"] >= 4 * SIZE * SIZE


def test_debug_checks_the_folded_nodes(net, rng):
    x = rng.normal(size=(2, SIZE)).astype(np.float32)
    session = lm.compile(net, x, debug=True)
    same_bits(session(x), expected(net, x))


def test_frozen_sources(rng):
    """What is made of a weight needs its elements: they are there whenever they are wanted."""
    net = nn.Sequential(nn.Linear(256, 256), Masked(256)).eval().freeze()
    net[1].weight.data = rng.normal(size=(256, 256)).astype(np.float32)
    net.freeze()
    x = rng.normal(size=(3, 256)).astype(np.float32)
    direct = nn.Linear(256, 256, bias=False).eval()
    direct.weight = net[1].weight
    for step in range(3):
        net[1].mask.data = np.full((256, 256), step + 1.0, np.float32)
        known = F.linear(net[0](x), F.mul(net[1].weight.numpy(), net[1].mask.numpy()))
        same_bits(net(x), known)
        same_bits(direct(x), F.linear(x, net[1].weight.numpy()))


def test_failed_allocations_leave_nothing_half_made(net, rng):
    x = rng.normal(size=(3, SIZE)).astype(np.float32)
    known = F.tanh(expected(net, x)) * F.exp(net.weight.array[0])

    def body(x):
        return F.tanh(net(x)) * F.exp(net.weight[0])

    failures = 0
    for number in range(1, 50):
        program = None  # nothing is kept any more
        program = program_of(body, x).program
        _core.fail_allocation(number)
        try:
            same_bits(program.run([x])[0], known)
            break
        except MemoryError:
            failures += 1
        finally:
            _core.fail_allocation(0)
        same_bits(program.run([x])[0], known)
    assert failures >= 4


def test_threads_that_fold_at_once():
    """After every change one of them folds, and the others wait for it; some read other forms."""
    net = Masked(200)
    inputs = [np.ones((count, 200), np.float32) for count in (1, 2, 3, 9)]
    bodies = [net, net, lambda x: net(x) + (net.weight * net.mask)[0], net]
    programs = [program_of(body, x).program for body, x in zip(bodies, inputs, strict=True)]
    rounds, failed = 30, []
    start, end = threading.Barrier(5), threading.Barrier(5)

    def work(number: int) -> None:
        try:
            for step in range(rounds):
                start.wait(60)
                (y,) = programs[number].run([inputs[number]])
                assert (y == (step + 1) * (201 if number == 2 else 200)).all()
                end.wait(60)
        except BaseException as error:
            failed.append(error)
            start.abort()
            end.abort()

    team = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for member in team:
        member.start()
    try:
        for step in range(rounds):
            net.weight.data = np.full((200, 200), step + 1, np.float32)
            start.wait(60)
            end.wait(60)
    except threading.BrokenBarrierError:
        pass
    for member in team:
        member.join()
    assert not failed


def test_changes_while_many_sizes_fold():
    """Every result is one of a state that there was, and the last one that of the last state."""
    net = Masked(300)
    inputs = [np.ones((count, 300), np.float32) for count in (1, 2, 3)]
    programs = [program_of(net, x).program for x in inputs]
    stop, failed = threading.Event(), []

    def work(program: _core.Program, x: np.ndarray) -> None:
        try:
            while not stop.is_set():
                y = program.run([x])[0]
                assert (y == y[0, 0]).all(), "of two states"
                assert y[0, 0] in (300.0, 600.0, 900.0)
        except BaseException as error:
            failed.append(error)

    team = [threading.Thread(target=work, args=pair) for pair in zip(programs, inputs, strict=True)]
    for member in team:
        member.start()
    for step in range(150):
        net.weight.data = np.full((300, 300), step % 3 + 1.0, np.float32)
    stop.set()
    for member in team:
        member.join()
    assert not failed
    for program, x in zip(programs, inputs, strict=True):
        assert (program.run([x])[0] == 300.0 * (149 % 3 + 1)).all()


def test_forks_in_the_midst_of_folding():
    """A child finds what nobody is left to finish, and makes it anew; its parent goes on."""
    net = """
import numpy as np
from lamella import nn, functional as F
SIZE = 1024
class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(np.ones((SIZE, SIZE)), dtype=np.float32)
        self.mask = nn.Buffer(np.ones((SIZE, SIZE)), dtype=np.float32)
    def forward(self, x):
        return F.linear(x, self.weight * self.mask)
net = Masked().eval()
stored = net.mask
"""
    code = net + FORKS
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=os.environ
    )
    assert result.stdout.strip() == "well", result.stderr


# ---- what the builder refuses


def builder(outputs=1):
    return _core.ProgramBuilder(inputs=[], outputs=[("float32", (4,))] * outputs)


def steps_of(array, version):
    inner = builder()
    spec = _core.CopySpec(item_bytes=4, shape=(4,), x_strides=(1,), y_strides=(1,))
    inner.add(spec, x=inner.constant(array, version), y=inner.output(0))
    return inner


def test_the_builder_refuses_what_is_no_folding():
    array, version = np.arange(4, dtype=np.float32), np.zeros(1, np.int64)
    outer = builder()
    source = outer.constant(array, version)
    with pytest.raises(ValueError, match="got 0 sources; the steps read 1 constants"):
        outer.fold(steps_of(array, version), [], "copy")
    with pytest.raises(ValueError, match="source 0 is not the constant that the steps read"):
        outer.fold(steps_of(array.copy(), version), [source], "copy")
    with pytest.raises(ValueError, match="expected steps of one size that read constants alone"):
        outer.fold(builder(2), [], "nothing")
    inner = steps_of(array, version)
    slot = outer.fold(inner, [source], "copy")
    with pytest.raises(ValueError, match="already built"):
        inner.build()
    with pytest.raises(ValueError, match="prepared for this program"):
        outer.changes(source)
    spec = _core.CopySpec(item_bytes=4, shape=(4,), x_strides=(1,), y_strides=(1,))
    with pytest.raises(ValueError, match="must not write it"):
        outer.add(spec, x=source, y=slot)
    outer.add(spec, x=slot, y=outer.output(0))
    assert outer.build().run([])[0].tolist() == [0, 1, 2, 3]
    changing = builder()
    source = changing.constant(array, version)
    changing.changes(source)
    with pytest.raises(ValueError, match="cannot be prepared ahead"):
        changing.fold(steps_of(array, version), [source], "copy")
