# SPDX-License-Identifier: Apache-2.0
"""Models in other processes and threads: pickle, deepcopy, spawn, fork, many threads from cold."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import threading

import numpy as np
import pytest

from lamella import _core
from process.nets import answer, digest, observations, policy


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("used", [False, True])
def test_pickle(used, protocol):
    net, x = policy(), observations(5)
    if used:
        net(x)
    restored = pickle.loads(pickle.dumps(net, protocol))
    assert digest(restored, x) == digest(net, x)
    assert restored.training is net.training
    assert list(restored.state_dict()) == list(net.state_dict())


@pytest.mark.parametrize("used", [False, True])
def test_deepcopy_is_independent(used):
    net, x = policy(), observations(5)
    if used:
        net(x)
    before = digest(net, x)
    twin = copy.deepcopy(net)
    assert digest(twin, x) == before
    zeros = {name: np.zeros_like(value) for name, value in twin.state_dict().items()}
    twin.load_state_dict(zeros)
    assert digest(twin, x) != before
    assert digest(net, x) == before
    net.load_state_dict(zeros)
    assert digest(net, x) == digest(twin, x)


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
@pytest.mark.parametrize("used", [False, True])
def test_child_process(used, method):
    net, x = policy(200), observations(500, 200)
    before = _core.num_threads()
    _core.set_num_threads(2)
    try:
        if used:
            net(x)
        context = multiprocessing.get_context(method)
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=answer, args=(net, x, sender))
        child.start()
        sender.close()
        assert receiver.poll(60), "the child hangs"
        assert receiver.recv() == digest(net, x)
        child.join(20)
        assert child.exitcode == 0
    finally:
        _core.set_num_threads(before)


def test_threads_from_cold():
    """Sixteen threads meet an uncompiled model at once, 1,000 calls each, in changing shapes."""
    net, calls = policy(), 1000
    inputs = [observations(count) for count in (1, 2, 3, 7, 64)]
    want = [digest(policy(), x) for x in inputs]
    start, wrong, failed = threading.Barrier(16), [], []

    def work(index: int) -> None:
        try:
            start.wait()
            for call in range(calls):
                at = (index + call) % len(inputs)
                if digest(net, inputs[at]) != want[at]:
                    wrong.append((index, call))
        except BaseException as error:
            failed.append(error)

    team = [threading.Thread(target=work, args=(index,)) for index in range(16)]
    for member in team:
        member.start()
    for member in team:
        member.join()
    assert not failed
    assert not wrong


def test_results_belong_to_the_caller():
    """A result that is held is never written again, however many calls follow."""
    net, x = policy(), observations(3)
    held = [net(x + step) for step in range(50)]
    kept = [{name: value.copy() for name, value in result.items()} for result in held]
    for step in range(200):
        net(x - step)
    for result, copies in zip(held, kept, strict=True):
        for name, value in result.items():
            assert np.array_equal(value, copies[name])
            assert value.flags.writeable


def test_views_of_a_result_keep_it():
    """A view holds the memory even when the array it was taken from is gone."""
    net, x = policy(), observations(3)
    views = [net(x + step)["action"][1] for step in range(50)]
    kept = [view.copy() for view in views]
    for step in range(200):
        net(x - step)
    assert all(np.array_equal(view, saved) for view, saved in zip(views, kept, strict=True))


def test_parameters_changed_while_threads_run():
    """Each answer is that of the old or of the new parameters; nothing in between crashes."""
    net, x = policy(), observations(4)
    states = [net.state_dict(), {k: v * np.float32(2) for k, v in net.state_dict().items()}]
    stop, failed = threading.Event(), []

    def work() -> None:
        try:
            while not stop.is_set():
                result = net(x)
                assert np.isfinite(result["value"]).all()
        except BaseException as error:
            failed.append(error)

    team = [threading.Thread(target=work) for _ in range(4)]
    for member in team:
        member.start()
    for step in range(200):
        net.load_state_dict(states[step % 2])
    stop.set()
    for member in team:
        member.join()
    assert not failed
    net.load_state_dict(states[0])
    assert digest(net, x) == digest(policy(), x)
