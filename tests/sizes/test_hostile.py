# SPDX-License-Identifier: Apache-2.0
"""New sizes at bad moments: beyond memory, many at once, across forks, interrupts and assignments.

The right result or a clear error; never a stale or half-made program, never a dead lock.
"""

from __future__ import annotations

import copy
import itertools
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest

import lamella as lm
from graphs import Functional
from lamella import functional as F
from lamella import nn, onnx, optim
from lamella.benchmarks.encoder import Encoder
from lamella.errors import DTypeError, ShapeError
from sizes.drawn import COUNT, bits, compare, draw, flat, outcome, picked, sizes
from sizes.nets import WIDTH, Residual, mlp, normalised, settled

PACKAGE = os.path.dirname(lm.__file__)
# How what cannot be is refused: no memory holds it, or no 64 bits its number of bytes.
REFUSED = (MemoryError, OverflowError, ValueError)


def small() -> nn.Module:
    return settled(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))).eval()


def summed(x: Any) -> Any:
    return x.sum(1, keepdim=True) + np.ones(3, np.float32)


@pytest.mark.parametrize("extent", [2**44, 2**60])
def test_rows_of_nothing_whose_results_no_memory_holds(extent):
    """They take no memory; what is computed of them would."""
    net, x = Functional(summed), np.empty((extent, 0), np.float32)
    for _ in range(2):
        for size in (0, 1, 5, 7, 9):
            ones = np.ones((size, 3), np.float32)
            assert net(np.empty((size, 0), np.float32)).tobytes() == ones.tobytes()
        with pytest.raises(REFUSED):
            net(x)
    with pytest.raises(REFUSED):
        F.sum(x, 1)
    with pytest.raises(REFUSED):
        F.matmul(x, np.empty((0, 7), np.float32))


def test_more_than_two_to_the_31_rows_of_nothing():
    for extent in (5, 6, 2**31 + 3, 2**33, 2**44, 7):
        x = np.empty((extent, 0), np.float32)
        assert F.relu(x).shape == x.shape
        assert F.sum(x, 0).shape == (0,)
        assert F.cat([x, x]).shape == (2 * extent, 0)
        assert F.matmul(np.empty((0, extent), np.float32), x).shape == (0, 0)
        assert small()(np.empty((0, 3), np.float32)).shape == (0, 2)


@pytest.mark.parametrize("rows", [2**42, 2**53])
def test_views_that_no_copy_holds(rows):
    net, step = small(), _step(mlp)
    want = outcome(net, draw(6, 3))
    x = np.lib.stride_tricks.as_strided(draw(64), (rows, 64), (0, 4))
    classes = np.lib.stride_tricks.as_strided(np.zeros(1, np.int64), (rows,), (0,))
    for size in (5, 6, 7, 6):
        outcome(net, draw(size, 3))
        with pytest.raises(REFUSED):
            net(x[:, :3])
        with pytest.raises(REFUSED):
            F.softmax(x, 1)
        with pytest.raises(REFUSED):
            step(x, classes)
        assert step(draw(size, 64), picked(4, size)).shape == ()
    assert outcome(net, draw(6, 3)) == want


def _step(make: Callable[[], nn.Module]) -> lm.TrainStep:
    net = settled(make()).train()
    return lm.TrainStep(net, nn.CrossEntropyLoss(), optim.Adam(net.parameters()), seed=1)


@contextmanager
def running(works: list[Callable[[], None]]) -> Iterator[threading.Event]:
    """The works in threads, each over and over until the block is left."""
    stop, failed = threading.Event(), []

    def work(one: Callable[[], None]) -> None:
        try:
            while not stop.is_set():
                one()
        except BaseException as error:
            failed.append(error)

    team = [threading.Thread(target=work, args=(one,)) for one in works]
    for member in team:
        member.start()
    try:
        yield stop
    finally:
        stop.set()
        for member in team:
            member.join()
    assert not failed, failed[0]


def at_once(call: Callable[[Any], Any], inputs: list[Any]) -> list[Any]:
    """Outcomes of calls that begin together, each in a thread of its own."""
    start, found = threading.Barrier(len(inputs)), [None] * len(inputs)

    def work(index: int) -> None:
        start.wait()
        found[index] = outcome(call, inputs[index])

    team = [threading.Thread(target=work, args=(index,)) for index in range(len(inputs))]
    for member in team:
        member.start()
    for member in team:
        member.join()
    return found


CALLED: dict[str, Callable[[], Any]] = {
    "net": lambda: settled(Encoder(1, WIDTH, 3)).eval(),
    "norm": lambda: settled(normalised()).eval(),
    "file": lambda: onnx.load(onnx.encode(settled(Residual()).eval(), draw(3, WIDTH))),
    "function": lambda: F.softmax,
}


@pytest.mark.parametrize("name", CALLED)
def test_new_sizes_at_once(name):
    """Two threads bring two sizes, eight bring one, four bring the sizes of a text to come."""
    fresh = CALLED[name]
    order = [n for n in sizes(60) if n > 1][:12]
    groups = [order[:2], order[2:4], [order[4]] * 8, order[5:9], order[9:] * 2]
    lm.clear_cache()
    call = fresh()
    for group in groups:
        got = at_once(call, [draw(n, WIDTH) for n in group])
        lm.clear_cache()
        assert got == [outcome(fresh(), draw(n, WIDTH)) for n in group], group


def test_a_step_and_calls_of_its_net_at_once():
    """New sizes of a training step while others ask its net for new sizes."""
    step = _step(mlp)
    counter = itertools.count(2)

    def ask() -> None:
        assert np.isfinite(step.net(draw(next(counter) % 90 + 2, 64))).all()

    with running([ask, ask]):
        for size in [n for n in sizes(60) if n]:
            assert np.isfinite(step(draw(size, 64), picked(4, size)))


def test_parameters_assigned_while_sizes_are_made():
    """A call computes with the parameters of one moment, at a new size as at an old one."""
    net = settled(nn.Sequential(nn.Linear(3, 40), nn.ReLU(), nn.Linear(40, 2))).eval()
    first = net[0].weight.array.copy()
    order = [n for n in sizes(200, count=60) if n]
    wants = []
    for factor in (1, -2):
        net[0].weight.data = first * np.float32(factor)
        wants.append({n: outcome(copy.deepcopy(net), draw(n, 3)) for n in set(order)})
    turn = itertools.count()

    def assign() -> None:
        net[0].weight.data = first * np.float32((1, -2)[next(turn) % 2])

    with running([assign]):
        for size in order:
            assert outcome(net, draw(size, 3)) in [want[size] for want in wants], size


def _answer(net: nn.Module, rows: list[int], sender: Any) -> None:
    sender.send([outcome(net, draw(n, WIDTH)) for n in rows])
    sender.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("moment", range(4))
def test_forks_while_sizes_are_made(moment):
    """The child answers old sizes and new ones."""
    net = settled(Encoder(1, WIDTH, 3)).eval()
    rows = [*range(2, 3 + moment), 17, 40]
    want = [outcome(copy.deepcopy(net), draw(n, WIDTH)) for n in rows]
    for n in range(2, 3 + moment):
        net(draw(n, WIDTH))
    counter = itertools.count(50)
    context = multiprocessing.get_context("fork")
    with running([lambda: outcome(net, draw(next(counter) % 150 + 2, WIDTH))] * 2):
        for _ in range(3):
            receiver, sender = context.Pipe(duplex=False)
            child = context.Process(target=_answer, args=(net, rows, sender))
            child.start()
            sender.close()
            try:
                assert receiver.poll(60), "the child hangs"
                assert receiver.recv() == want
            finally:
                child.kill()
                child.join()


class Interrupted(BaseException):
    """What a signal's handler raises, wherever Python happens to be."""


def interrupt(call: Callable[[], Any], line: int) -> int:
    """Makes a call and raises before the package's line of this number, if it comes so far.

    Returns: how many lines were run.
    """
    count = 0

    def trace(frame: Any, event: str, _: Any) -> Any:
        nonlocal count
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event == "line":
            count += 1
            if count == line:
                raise Interrupted
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except Interrupted:
        pass
    finally:
        sys.settrace(before)
    return count


# An exception in a weak reference's callback is told and forgotten.
unheard = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
MOMENTS = max(8, COUNT // 2)


@unheard
@pytest.mark.parametrize("name", CALLED)
def test_interrupts_while_sizes_are_made(name, rng):
    """At the first size, the second or the third: all of them are right afterwards."""
    rows = (5, 7, 9, 8, 1)
    want = []
    for n in rows:
        lm.clear_cache()
        want.append(outcome(CALLED[name](), draw(n, WIDTH)))

    def until(size: int, line: int) -> int:
        lm.clear_cache()
        call = CALLED[name]()
        for n in rows[:size]:
            call(draw(n, WIDTH))
        lines = interrupt(partial(call, draw(rows[size], WIDTH)), line)
        assert [outcome(call, draw(n, WIDTH)) for n in rows] == want, (size, line)
        return lines

    for size in range(3):
        lines = until(size, -1)
        # None where the core makes the size by itself.
        for line in rng.integers(1, lines + 1, MOMENTS) if lines else ():
            until(size, int(line))


@unheard
def test_interrupts_while_a_step_is_made(rng):
    """A step counts or does not: parameters are those of the steps that were made."""
    batches = [(draw(n, 64), picked(4, n)) for n in (5, 7, 9, 8, 1)]

    def until(size: int, line: int) -> int:
        step = _step(mlp)
        for batch in batches[:size]:
            step(*batch)
        before = bits(flat(step.net.state_dict()))
        lines = interrupt(partial(step, *batches[size]), line)
        steps = size + (bits(flat(step.net.state_dict())) != before)
        for batch in batches:
            fresh = copy.deepcopy(step)
            assert outcome(step, *batch, net=step.net) == outcome(fresh, *batch, net=fresh.net)
        counts = {int(state["step"]) for state in step.optimizer.state_dict()["state"].values()}
        assert counts == {steps + len(batches)}
        return lines

    for size in range(3):
        lines = until(size, -1)
        for line in rng.integers(1, lines + 1, MOMENTS // 2) if lines else ():
            until(size, int(line))


def test_other_ranks_types_and_structures_between_sizes():
    """What looks like a size of the same program and is none."""
    net = settled(nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 3))).eval()
    inputs = [
        (draw(5, 3),), (draw(7, 3),), (draw(3),), (draw(2, 5, 3),), (draw(9, 3),), (draw(9, 4),),
        (draw(9, 3) > 0,), (draw(11, 3),), (picked(4, 11, 3),), (draw(3, 3),), (draw(4, 2, 3),),
        (draw(13, 3), draw(13, 3)), (np.float32(1),), (draw(15, 3),), (None,), (draw(0, 3),),
        (draw(17, 0),), (draw(17, 3),), ([[1.0, 2.0, 3.0]] * 19,), ("text",), (draw(2, 0, 3),),
    ]  # fmt: skip
    compare(net, inputs)
    for size in (21, 22, 23):
        net[1] = nn.Linear(3, size)
        assert net(draw(size, 3)).shape == (size, size)
        net.train(size % 2 == 0)
        compare(net, [(draw(size, 3),), (draw(size + 1, 3),)])


def test_errors_name_the_size_that_was_given():
    net = small()
    for size in (4, 5, 6, 7):
        net(draw(size, 3))
        with pytest.raises(ShapeError, match=rf"\({size}, 5\)"):
            net(draw(size, 5))
        with pytest.raises(DTypeError):
            net(picked(3, size, 3))


@pytest.mark.filterwarnings("ignore:.*set_cache_bytes:RuntimeWarning")
@pytest.mark.parametrize("budget", [0, 1, 100_000])
def test_budgets(budget):
    """However little may be kept, what is computed is right."""
    net, file = settled(Encoder(1, WIDTH, 3)).eval(), CALLED["file"]()
    before = lm.get_cache_bytes()
    lm.set_cache_bytes(budget)
    try:
        compare(net, [(draw(n, WIDTH),) for n in sizes(40)])
        compare(file, [(draw(n, WIDTH),) for n in sizes(40)])
        step = _step(mlp)
        for size in (5, 7, 9, 5):
            fresh = copy.deepcopy(step)
            batch = draw(size, 64), picked(4, size)
            assert outcome(step, *batch, net=step.net) == outcome(fresh, *batch, net=fresh.net)
            assert F.relu(draw(size)).tobytes() == np.maximum(draw(size), 0).tobytes()
    finally:
        lm.set_cache_bytes(before)
