# SPDX-License-Identifier: Apache-2.0
"""Structures that change while other threads trace and call, and after a fork."""

from __future__ import annotations

import functools
import multiprocessing
import threading

import numpy as np
import pytest

from comparators import same_bits
from nn.leaves import Reaching, Root, Seen, Tree, X, came, check, gate, in_thread, settled


@pytest.mark.parametrize("reached", [False, True], ids=["child", "reached"])
def test_a_change_from_another_thread_during_a_trace_is_not_lost(reached):
    leaf, left = Root(), [3]

    def meanwhile():
        if left[0]:
            left[0] -= 1
            in_thread(lambda: setattr(leaf, "scale", leaf.scale + 1.0))

    class Net(Seen):
        def __init__(self):
            super().__init__()
            self.kept = (leaf,) if reached else leaf
            self.gate = gate(meanwhile)

        def forward(self, x):
            factor = (self.kept[0] if reached else self.kept).scale
            next(self.gate)
            return x * factor

    net = Net()
    net(X)
    for _ in range(3):
        same_bits(np.array(net(X)), X * np.float32(leaf.scale))
    assert leaf.scale == 4.0
    left[0] = 10**6  # never still: not kept, and right for the moment of the call
    x = X[:1]
    before = leaf.scale
    first = float(np.array(net(x))[0, 0])
    assert before <= first <= leaf.scale
    second = float(np.array(net(x))[0, 0])
    assert first < second <= leaf.scale
    left[0] = 0
    same_bits(np.array(net(x)), x * np.float32(leaf.scale))


def test_calls_from_other_threads_during_a_trace():
    """A child is answered meanwhile by its own programs, and the trace takes none of them."""
    leaf, results = Root(), []
    leaf.eval()

    class Net(Seen):
        def __init__(self):
            super().__init__()
            self.leaf = leaf
            self.gate = gate(lambda: in_thread(lambda: results.append(np.array(leaf(X)))))

        def forward(self, x):
            next(self.gate)
            return self.leaf(X) + x  # on an array, with the leaf's program known

    settled(leaf)
    net, zero = Net(), np.zeros_like(X)
    same_bits(np.array(net(zero)), X)
    same_bits(results[0], X)
    leaf.weight.data = np.full(3, 2, np.float32)
    same_bits(np.array(net(zero)), 2 * X)  # a constant of the trace would still be X


def test_threads_that_toggle_and_call():
    leaf, done, wrong = Root(), threading.Event(), []
    leaf.register_buffer("offset", np.zeros(3, np.float32))
    nets = [leaf, Tree(leaf), Reaching(leaf)]

    def call(net, times):
        while not done.is_set():
            got = np.array(net(X)) - (X if times == 1 else 0)
            if times == 1 and not ((got == 0).all() or (got == 10).all()):
                wrong.append(got)

    def toggle():
        while not done.is_set():
            leaf.eval()
            leaf.train()

    threads = [threading.Thread(target=call, args=(net, 2 if net is nets[1] else 1))
               for net in nets] + [threading.Thread(target=toggle)]  # fmt: skip
    for thread in threads:
        thread.start()
    done.wait(1.0)
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    leaf.eval()
    check(nets)


def child_of(net, leaf, sender):
    leaf.scale = 7.0
    sender.send(np.array(net(X)).tobytes())
    sender.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_follows_on():
    leaf = Root()
    net = Tree(leaf)
    settled(net)
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=functools.partial(child_of, net, leaf, sender))
    child.start()
    sender.close()
    try:
        assert receiver.poll(30)
        got = receiver.recv()
    finally:
        child.kill()
        child.join()
    assert not came(net)
    leaf.scale = 7.0
    assert np.array(net(X)).tobytes() == got
