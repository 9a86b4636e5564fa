# SPDX-License-Identifier: Apache-2.0
"""Frozen nets: weights lie in memory once, and nobody can tell but by the memory."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

import lamella as lm
from comparators import same_bits
from lamella import nn
from lamella.functional import cross_entropy, matmul

SIZE = 160


def net_of(dtype: str = "float32") -> nn.Module:
    """Two weights that are packed, biases, and a head too narrow for panels."""
    net = nn.Sequential(nn.Linear(SIZE, 200), nn.Tanh(), nn.Linear(200, SIZE), nn.Linear(SIZE, 3))
    for parameter in net.parameters():
        values = np.random.default_rng(parameter.array.size).normal(size=parameter.array.shape)
        parameter.data = values.astype(np.float32) / 8
    return net.to(dtype).eval()


def rows(count: int, dtype: str = "float32") -> np.ndarray:
    return np.linspace(-1, 1, count * SIZE).reshape(count, SIZE).astype(dtype)


def is_away(parameter: nn.Parameter) -> bool:
    """Whether the elements lie in a packed form alone."""
    return parameter._storage is not None and not parameter._storage.here


def away(net: nn.Module) -> list[str]:
    return [name for name, parameter in net.named_parameters() if is_away(parameter)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("called", [False, True])
def test_outputs_and_values_are_the_same(dtype, called):
    net, x = net_of(dtype), rows(5, dtype)
    state = net.state_dict()
    expected = net_of(dtype)(x).copy()
    if called:
        net(x)
    assert net.freeze() is net
    same_bits(net(x), expected)
    assert away(net) == ["0.weight", "2.weight"]
    for count in (1, 2, 30):
        same_bits(net(rows(count, dtype)), net_of(dtype)(rows(count, dtype)))
    for name, parameter in net.named_parameters():
        same_bits(parameter.data, state[name])
        same_bits(np.asarray(parameter), state[name])
    assert away(net) == ["0.weight", "2.weight"], "given up again"
    for name, array in net.state_dict().items():
        same_bits(array, state[name])
    net.freeze()
    same_bits(net(x), expected)
    net.unfreeze()
    assert not away(net)
    assert not any(parameter.frozen for parameter in net.parameters())
    same_bits(net(x), expected)
    same_bits(net[0].weight.data, state["0.weight"])


def test_every_bit_comes_back(rng):
    """Signalling NaNs, subnormals, negative zeros, in all layouts that are packed."""
    for dtype, bits in ((np.float32, np.uint32), (np.float64, np.uint64)):
        for shape in ((300, 70), (70, 300), (129, 500), (4, 100, 50), (2000, 14), (14, 2000)):
            values = rng.integers(
                0, 2 ** (8 * np.dtype(bits).itemsize), shape, bits, endpoint=False
            )
            for swap in (False, True):
                weight = nn.Parameter(values.view(dtype), dtype=dtype)

                def body(x, weight=weight, swap=swap):
                    return matmul(x, weight.mT if swap else weight)

                x = np.ones((*shape[:-2], 2, shape[-1 if swap else -2]), dtype)
                program = lm.compile(body, x)
                program(x)
                weight.freeze()
                # Stacks of matrices are not packed ahead, nor are a few columns read as rows.
                assert is_away(weight) == (len(shape) == 2 and (shape != (14, 2000) or not swap))
                assert weight.data.tobytes() == values.tobytes(), (dtype, shape, swap)


@pytest.mark.memory
def test_memory():
    code = """
import ctypes, os, sys
import numpy as np
from lamella import nn

def resident():
    ctypes.CDLL(None).malloc_trim(0)  # not what the C library keeps for later
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

x = np.ones((1, 2048), np.float32)
nn.Linear(8, 8)(np.ones((1, 8), np.float32))
before = resident()
net = nn.Sequential(*[nn.Linear(2048, 2048) for _ in range(4)]).eval()
if sys.argv[1] == "later":
    net(x)
net.freeze()
net(x)
net(np.ones((7, 2048), np.float32))
print(resident() - before)
total = sum(float(p.data.sum()) for p in net.parameters())
print(resident() - before)
net.unfreeze()
print(resident() - before)
"""
    for when in ("later", "at once"):
        result = subprocess.run(
            [sys.executable, "-c", code, when], capture_output=True, text=True, timeout=120
        )
        assert result.returncode == 0, result.stderr
        frozen, read, unfrozen = (float(word) for word in result.stdout.split())
        # 64 MB of weights; 3 MB for code that runs for the first time.
        assert frozen < 1.05 * 64 + 3
        assert read < 1.05 * 64 + 3
        assert unfrozen > 120


def test_a_view_keeps_the_array():
    net, x = net_of(), rows(2)
    expected = net(x).copy()
    view = net[0].weight.data
    values = view.copy()
    net.freeze()
    assert away(net) == ["2.weight"]
    same_bits(view, values)
    same_bits(net(x), expected)
    part = view[1:3].T
    del view
    gc.collect()
    assert away(net) == ["2.weight"], "a view of a view"
    same_bits(part.copy(), values[1:3].T.copy())
    del part
    assert away(net) == ["0.weight", "2.weight"]
    again = net[0].weight.data
    assert not again.flags.writeable
    with pytest.raises(ValueError, match="WRITEABLE"):
        again.flags.writeable = True
    # What is assigned shows in it, as in any view of a parameter.
    net[0].weight.data = 2 * values
    same_bits(again, 2 * values)


def test_assignment_ends_freezing():
    net, x = net_of(), rows(2)
    net.freeze()
    net(x)
    doubled = {name: 2 * array for name, array in net.state_dict().items()}
    fresh = net_of()
    fresh.load_state_dict(doubled)
    net[0].weight.data = doubled["0.weight"]
    assert away(net) == ["2.weight"]
    assert not net[0].weight.frozen
    net.load_state_dict(doubled)
    same_bits(net(x), fresh(x))
    assert not away(net)
    net.freeze()
    assert away(net) == ["0.weight", "2.weight"]
    same_bits(net(x), fresh(x))
    net[0].weight.data = net[0].weight
    same_bits(net(x), fresh(x))


def test_copies(tmp_path):
    net, x = net_of(), rows(3)
    expected = net(x).copy()
    net.freeze()
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert not other[0].weight.frozen
        same_bits(other(x), expected)
    lm.save(net.state_dict(), tmp_path / "net.safetensors")
    fresh = net_of()
    fresh.load_state_dict(lm.load(tmp_path / "net.safetensors"))
    same_bits(fresh(x), expected)
    lm.onnx.save(net, tmp_path / "net.onnx", x)
    same_bits(lm.onnx.load(tmp_path / "net.onnx")(x), expected)
    assert away(net) == ["0.weight", "2.weight"]
    net.to("float64")
    assert not away(net)
    same_bits(net(x.astype(np.float64)), net_of("float64")(x.astype(np.float64)))


def test_training_and_other_forms():
    def trained(frozen: bool) -> tuple[dict[str, np.ndarray], list[float]]:
        net = net_of()
        if frozen:
            net.freeze()
            net(rows(4))
            assert away(net)
        step = lm.TrainStep(net, cross_entropy, lm.optim.Adam(net.parameters(), 0.01))
        losses = [float(step(rows(4), np.arange(4) % 3)) for _ in range(3)]
        if frozen:
            assert not away(net), "the step changes the array"
        net.eval()(rows(4))
        return net.state_dict(), losses

    (state, losses), (expected, expected_losses) = trained(True), trained(False)
    assert losses == expected_losses
    for name, array in expected.items():
        same_bits(state[name], array)

    net, x = net_of(), rows(3)
    net.freeze()
    net(x)
    weight = net[0].weight
    other = lm.compile(lambda x: matmul(x, weight), np.ones((2, 200), np.float32))
    same_bits(
        other(np.ones((2, 200), np.float32)),
        matmul(np.ones((2, 200), np.float32), net_of()[0].weight.data),
    )
    same_bits(net(x), net_of()(x))
    assert is_away(weight), "both forms are packed"


def test_what_is_read_in_place_stays():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(300, 80)

        def forward(self, x):
            return matmul(self.table(x), self.table.weight.mT)

    net, x = Tied().eval(), np.array([[1, 5, 299]])
    expected = net(x).copy()
    net.freeze()
    same_bits(net(x), expected)
    assert not away(net)

    shared = nn.Linear(SIZE, SIZE, bias=False)
    twice = nn.Sequential(shared, nn.Tanh(), shared).eval()
    expected = twice(rows(2)).copy()
    same_bits(twice.freeze()(rows(2)), expected)
    assert away(twice) == ["0.weight"]
    twice.freeze()
    del twice
    gc.collect()
    assert is_away(shared.weight), "no program is left"
    same_bits(shared(rows(2)), nn.functional.linear(rows(2), shared.weight.data))


def test_while_other_threads_compute():
    net, x = net_of(), rows(2)
    expected = net(x).copy()
    values = net[0].weight.data.copy()
    stop, failed = threading.Event(), []

    def safely(work):
        try:
            while not stop.is_set():
                work()
        except BaseException as error:
            failed.append(error)

    def compute():
        same_bits(net(x), expected)

    def read():
        same_bits(net[0].weight.data, values)

    def assign():
        net[0].weight.data = values

    team = [threading.Thread(target=safely, args=(w,)) for w in (compute, compute, read, assign)]
    for member in team:
        member.start()
    for _ in range(150):
        net.freeze()
        net(rows(3))
        net.unfreeze()
    net.freeze()
    stop.set()
    for member in team:
        member.join()
    assert not failed, failed
    same_bits(net(x), expected)
    net.freeze()
    assert away(net) == ["0.weight", "2.weight"]


def test_a_forked_child_reads_and_writes():
    net, x = net_of(), rows(2)
    expected = net(x).tobytes()
    state = net.state_dict()
    net.freeze()
    pid = os.fork()
    if pid == 0:
        ok = net(x).tobytes() == expected
        ok = ok and net[0].weight.data.tobytes() == state["0.weight"].tobytes()
        net.load_state_dict(state)
        os._exit(0 if ok and net(x).tobytes() == expected else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert away(net) == ["0.weight", "2.weight"]
    same_bits(net[0].weight.data, state["0.weight"])
