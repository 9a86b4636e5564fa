# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and kill -9: a process of its own is ended in the midst of training, and resumed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMON = """
import hashlib, signal, sys
import numpy as np
import lamella as lm
from lamella import nn, optim
from lamella.train import ModelCheckpoint

# A shell's background jobs, and what they start, are born ignoring it.
signal.signal(signal.SIGINT, signal.default_int_handler)

def make():
    lm.manual_seed(1)
    net = nn.Sequential(nn.Linear(64, 96), nn.Dropout(0.2), nn.Tanh(), nn.Linear(96, 10))
    return net, optim.Adam(net.parameters(), lr=1e-3)

def digest(net, optimizer):
    found = hashlib.sha256()
    for array in net.state_dict().values():
        found.update(array.tobytes())
    for entry in optimizer.state_dict()["state"].values():
        for name in sorted(entry):
            found.update(np.asarray(entry[name]).tobytes())
    return found.hexdigest()

x = np.random.default_rng(0).standard_normal((4096, 64)).astype(np.float32)
t = np.random.default_rng(1).integers(0, 10, 4096)
net, optimizer = make()
options = dict(loss=nn.CrossEntropyLoss(), optimizer=optimizer, batch_size=64, seed=3)
options["metrics"] = ["accuracy"] if sys.argv[2] == "watched" else []
"""

CHILD = (
    COMMON
    + """
callbacks = [ModelCheckpoint(sys.argv[1] + "/c", every="epoch", on_interrupt=True)]

class Say(lm.train.Callback):
    def on_epoch_end(self, fit):
        print("epoch", flush=True)

try:
    lm.fit(net, x, t, epochs=10**9, callbacks=[*callbacks, Say()], **options)
except KeyboardInterrupt as error:
    run = error.fit
    print("stopped", run.epoch, run.batch, len(run.lost), len(run.history), digest(net, optimizer))
    print("usable", net(x[:2]).shape, net.training)
"""
)

JUDGE = (
    COMMON
    + """
epoch, batch, want = int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]

class Here(lm.train.Callback):
    def check(self, fit):
        if (fit.epoch, fit.batch) == (epoch, batch):
            print(digest(net, optimizer) == want)
            fit.stop = True
    on_batch_end = on_epoch_end = check

lm.fit(net, x, t, epochs=epoch + 1, callbacks=[Here()], **options)
whole, resumed = [], []
for found, more in ((whole, {}), (resumed, {"resume": sys.argv[1] + "/c"})):
    net, optimizer = make()
    options["optimizer"] = optimizer
    lm.fit(net, x, t, epochs=epoch + 2, **options, **more)
    found.append(digest(net, optimizer))
print(whole == resumed)
"""
)


@pytest.mark.parametrize("loop", ["plain", "watched"])
@pytest.mark.parametrize("epochs", [1, 3])
def test_the_model_is_that_of_the_last_finished_step(
    loop: str, epochs: int, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", CHILD, str(tmp_path), loop]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for _ in range(epochs):
            assert child.stdout.readline() == "epoch\n"
        child.send_signal(signal.SIGINT)
        output = child.communicate(timeout=60)[0]
    assert child.returncode == 0
    stopped, usable = [line for line in output.splitlines() if line != "epoch"]
    _, epoch, batch, lost, history, digest = stopped.split()
    assert usable == "usable (2, 10) True"
    assert int(history) == int(epoch) >= epochs
    assert int(lost) <= 1
    command = [sys.executable, "-c", JUDGE, str(tmp_path), loop, epoch, batch, digest]
    judged = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert judged.stdout.split() == ["True", "True"]


KILLED = (
    COMMON
    + """
import os
path = sys.argv[1] + "/c"
saving = ModelCheckpoint(path, every=5)

class Say(lm.train.Callback):
    def on_batch_end(self, fit):
        if not self.said and os.path.exists(path):
            self.said = print("begun", fit.epoch, fit.batch, flush=True) or True
    said = False

more = {"resume": path} if os.path.exists(path) else {}
lm.fit(net, x, t, epochs=12, callbacks=[Say(), saving], **options, **more)
print("done", digest(net, optimizer))
"""
)


def test_a_training_that_is_killed_again_and_again_ends_with_the_same_bits(tmp_path: Path) -> None:
    """Whatever it is doing, a checkpoint among it: at most five batches are computed again."""
    choice, places = random.Random(6), []

    def child(folder: Path) -> subprocess.Popen[str]:
        folder.mkdir(exist_ok=True)
        command = [sys.executable, "-c", KILLED, str(folder), "plain"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def begun(one: subprocess.Popen[str]) -> tuple[int, ...]:
        assert one.stdout is not None
        word, *place = one.stdout.readline().split()
        assert word == "begun"
        return tuple(map(int, place))

    for _ in range(6):
        with child(tmp_path / "killed") as one:
            places.append(begun(one))
            time.sleep(choice.uniform(0, 0.03))
            one.send_signal(signal.SIGKILL)
    digests = []
    for folder in ("killed", "whole"):
        with child(tmp_path / folder) as one:
            places.append(begun(one))
            digests.append(one.communicate(timeout=60)[0])
        assert one.returncode == 0
    assert digests[0] == digests[1]
    assert digests[0].startswith("done")
    # Each went on from where the one before it was, not from the beginning: that would be (0, 1).
    assert places[:-1] == sorted(places[:-1])
    assert places[0] == places[-1] == (0, 6) <= places[1]
