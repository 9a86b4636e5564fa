# SPDX-License-Identifier: Apache-2.0
"""Training steps copied, in other processes, and used by several threads at once."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable

import numpy as np
import pytest

import lamella as lm
from comparators import same_bits
from lamella import nn, optim

RNG = np.random.default_rng(90)
X = RNG.normal(size=(16, 6)).astype(np.float32)
Y = RNG.normal(size=(16, 3)).astype(np.float32)


def new_step(accumulate: int = 1) -> lm.TrainStep:
    """A step of a net with everything that has state, from fixed numbers."""
    net = nn.Sequential(
        nn.Linear(6, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.25), nn.Linear(32, 3)
    )
    rng = np.random.default_rng(91)
    for parameter in net.parameters():
        parameter.data = rng.uniform(0.1, 0.9, parameter.shape)
    optimizer = optim.Adam(net.parameters(), lr=0.01)
    return lm.TrainStep(net, nn.MSELoss(), optimizer, accumulate=accumulate, seed=4)


def state(step: lm.TrainStep) -> list[np.ndarray]:
    arrays = [np.array(value) for value in step.net.state_dict().values()]
    moments = step.optimizer.state_dict()["state"]
    return arrays + [np.asarray(value) for one in moments.values() for value in one.values()]


def same_state(got: lm.TrainStep, want: lm.TrainStep) -> None:
    assert got.random_state == want.random_state
    for one, other in zip(state(got), state(want), strict=True):
        same_bits(one, other)


def copies() -> dict[str, Callable[[lm.TrainStep], lm.TrainStep]]:
    found = {
        f"pickle {protocol}": lambda step, protocol=protocol: pickle.loads(
            pickle.dumps(step, protocol)
        )
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
    }
    return {**found, "deepcopy": copy.deepcopy}


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("kind", copies())
def test_copies_go_on_alike_and_apart(kind, used):
    step = new_step()
    if used:
        for _ in range(3):
            step(X, Y)
    twin = copies()[kind](step)
    before = state(step)
    losses = [twin(X, Y) for _ in range(4)]
    for one, other in zip(state(step), before, strict=True):
        same_bits(one, other)
    for loss in losses:
        same_bits(step(X, Y), loss)
    same_state(twin, step)
    assert twin.net is not step.net
    assert [id(p) for p in twin.optimizer.parameters] == [id(p) for p in twin.net.parameters()]


def test_a_copy_begins_a_new_accumulation():
    step = new_step(2)
    step(X, Y)
    twin = copy.deepcopy(step)
    assert (step.held, twin.held) == (1, 0)
    twin(X, Y)
    assert twin.held == 1


def test_nested_copies_share_what_they_shared():
    step = new_step()
    net, twin = copy.deepcopy((step.net, step))
    assert twin.net is net


@pytest.mark.parametrize("used", [False, True])
def test_fork(used, threads):
    """Parent and child go on alike, and apart."""
    step = new_step()
    if used:
        step(X, Y)
    want = copy.deepcopy(step)
    for _ in range(3):
        want(X, Y)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            for _ in range(3):
                step(X, Y)
            same_state(step, want)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert status == 0
    for _ in range(3):
        step(X, Y)
    same_state(step, want)


WHILE_TRAINING = """
import os, signal, threading
import numpy as np
import lamella as lm
from lamella import nn, optim

lm.set_num_threads({threads})
net = nn.Sequential(nn.Linear(40, 300), nn.ReLU(), nn.Linear(300, 8))
step = lm.TrainStep(net, nn.MSELoss(), optim.SGD(net.parameters()), accumulate={accumulate})
x, y = np.ones((200, 40), np.float32), np.ones((200, 8), np.float32)
stop = False

def train():
    while not stop:
        step(x, y)

def child():
    # A child that hangs is ended, with another status.
    signal.alarm(20)
    try:
        for _ in range({accumulate} - step.held):
            before = net[0].weight.data.tobytes()
            step(x, y)
        os._exit(step.held or net[0].weight.data.tobytes() == before)
    finally:
        os._exit(1)

thread = threading.Thread(target=train)
thread.start()
try:
    for _ in range(20):
        pid = os.fork()
        if pid == 0:
            child()
        assert os.waitpid(pid, 0)[1] == 0
finally:
    stop = True
    thread.join()
"""


@pytest.mark.parametrize("accumulate", [1, 3])
def test_fork_while_a_thread_trains(accumulate, threads):
    """The child finds a whole step and goes on from there."""
    code = WHILE_TRAINING.format(accumulate=accumulate, threads=threads)
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def in_threads(*bodies: Callable[[], None]) -> None:
    """Runs them at once; raises what the first of them raised."""
    errors: list[BaseException] = []
    start = threading.Barrier(len(bodies))

    def guarded(body: Callable[[], None]) -> None:
        try:
            start.wait()
            body()
        except BaseException as error:
            errors.append(error)

    workers = [threading.Thread(target=guarded, args=(body,)) for body in bodies]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]


STEPS = 200


@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_threads_train_one_net(accumulate, threads):
    """Every step counts once, from a cold start: the result is that of as many steps in a row.

    With the same batch in every call the order of the calls does not matter.
    """
    step, want = new_step(accumulate), new_step(accumulate)
    for _ in range(2 * STEPS):
        want(X, Y)

    def train() -> None:
        for _ in range(STEPS):
            step(X, Y)

    in_threads(train, train)
    same_state(step, want)


def test_inference_beside_training_sees_whole_steps():
    """An output is that of the net after some number of steps, never of a mixture."""

    def make() -> lm.TrainStep:
        net = nn.Sequential(nn.Linear(6, 3), nn.Linear(3, 3)).eval()
        for parameter in net.parameters():
            parameter.data = np.full(parameter.shape, 0.25)
        return lm.TrainStep(net, nn.MSELoss(), optim.SGD(net.parameters(), lr=1e-3))

    want = make()
    known = {want.net(X).tobytes()}
    for _ in range(STEPS):
        want(X, Y)
        known.add(want.net(X).tobytes())
    step, seen, done = make(), set(), threading.Event()

    def train() -> None:
        for _ in range(STEPS):
            step(X, Y)
        done.set()

    def infer() -> None:
        while not done.is_set():
            seen.add(step.net(X).tobytes())

    in_threads(train, infer, infer)
    assert seen <= known
    same_bits(step.net(X), want.net(X))


def test_two_steps_over_one_net():
    """Two TrainSteps with optimisers of their own, at once: each update is whole."""
    net = nn.Linear(6, 3)
    ones = nn.Parameter(np.ones((3, 6), np.float32))
    net.weight.data, net.bias.data = np.zeros((3, 6)), np.zeros(3)

    def drift(output, target):
        return -(net.weight * ones).sum() - 0.0 * output.sum()

    steps = [lm.TrainStep(net, drift, optim.SGD([net.weight], lr=1.0)) for _ in range(2)]

    def train(step: lm.TrainStep) -> Callable[[], None]:
        def body() -> None:
            for _ in range(STEPS):
                step(X, Y)

        return body

    in_threads(*map(train, steps))
    same_bits(np.array(net.weight.data), np.full((3, 6), 2 * STEPS, np.float32))
