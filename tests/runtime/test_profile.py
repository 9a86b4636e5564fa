# SPDX-License-Identifier: Apache-2.0
"""profile: every step has its node and its time, and nothing has changed behind it."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import lamella as lm
from lamella import _core, functional, nn

X = np.random.default_rng(0).standard_normal((32, 24)).astype(np.float32)


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(24, 16), nn.Linear(16, 5, bias=False)

    def forward(self, x):
        h = self.first(x).relu()
        return self.second(h), h.mT @ h, x


def test_every_step_belongs_to_a_node():
    session = lm.compile(Mixed().eval(), X)
    compiled = session.compiled
    assert len(compiled.origins) == len(compiled.program.steps)
    nodes = [node for node in compiled.origins if node is not None]
    assert set(nodes) == {node for node in compiled.graph.nodes if not node.op.view}
    order = [compiled.graph.nodes.index(node) for node in nodes]
    assert order == sorted(order)
    # An input that is an output is copied behind the nodes.
    assert compiled.origins[-1] is None


def test_rows(threads):
    found = lm.profile(Mixed().eval(), X, seconds=0.01)
    session = lm.compile(Mixed().eval(), X)
    assert [kind for row in found.rows for kind in row.kinds] == session.program.steps
    work = {row.path: row.work for row in found.rows if row.path}
    dense = 4.0 * (24 * 16 + 16)
    assert work["first"] == (2.0 * 32 * 24 * 16, dense, 4.0 * 32 * (24 + 16))
    assert work["second"] == (2.0 * 32 * 16 * 5, 4.0 * 16 * 5, 4.0 * 32 * (16 + 5))
    (product,) = (row for row in found.rows if row.shapes == ((16, 16),))
    assert product.flops == 2.0 * 16 * 16 * 32
    assert product.read == 0
    assert found.flops == sum(row.flops for row in found.rows)
    assert found.read == dense + 4.0 * 16 * 5
    assert found.streamed == X.nbytes + 4.0 * (32 * 5 + 16 * 16 + 32 * 24)
    assert found.rows[-1].op == "copy"
    assert 1 <= found.threads <= threads
    assert found.call > 0
    assert all(row.seconds >= 0 for row in found.rows)
    assert all(row.op in str(found) for row in found.rows)


def test_a_step_of_much_work_takes_longer():
    x = np.ones((64, 512), np.float32)
    w = np.ones((512, 512), np.float32)
    found = lm.profile(lambda x, w: (x @ w, x[:1, :8].exp()), x, w, seconds=0.02)
    product = next(row for row in found.rows if row.flops)
    other = next(row for row in found.rows if not row.flops)
    # 33 million operations beside eight numbers.
    assert product.seconds > other.seconds
    assert product.seconds > 0


def test_functions_and_named_arguments():
    found = lm.profile(lambda x, scale: (x * scale).tanh(), X, scale=X, seconds=0.01)
    assert len(found.rows) == 1
    assert found.rows[0].streamed == 3.0 * X.nbytes
    assert lm.profile(functional.softmax, X, dim=-1, seconds=0.01).rows[0].op == "softmax"


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(24, 24), nn.GELU())

    def forward(self, x):
        return x + self.inner(x)


def test_equal_layers_are_told_apart():
    net = nn.Sequential(nn.Linear(24, 24), Residual(), Residual(), nn.Softmax(-1)).eval()
    found = lm.profile(net, X, seconds=0.01)
    want = ["0", "1.inner.0 + 1.inner.1", "1", "2.inner.0 + 2.inner.1", "2", "3"]
    assert [row.path for row in found.rows] == want
    assert "# 2.inner.0 + 2.inner.1  [packed panels, tiles]\n" in str(found)
    # Of a chain of many places tables show the ends.
    act = nn.Sequential(nn.ReLU(), nn.Tanh(), nn.Sigmoid(), nn.GELU(), nn.SiLU()).eval()
    (row,) = lm.profile(act, X, seconds=0.01).rows
    assert row.path == "0 + 1 + 2 + 3 + 4"
    assert row.label == f"{row.op}  # 0 + 3 more + 4"


@pytest.mark.parametrize("nested", [False, True])
def test_a_loaded_net_has_the_places_of_the_saved_one(nested):
    net = nn.Sequential(nn.Linear(24, 24), Residual(), Residual(), nn.Softmax(-1)).eval()
    loaded = lm.onnx.load(lm.onnx.encode(net, X))
    places = [row.path for row in lm.profile(net, X, seconds=0.01).rows]
    if nested:
        loaded, places = nn.Sequential(loaded).eval(), [
            " + ".join(f"0.{one}" for one in place.split(" + ")) for place in places
        ]  # fmt: skip
    assert [row.path for row in lm.profile(loaded, X, seconds=0.01).rows] == places
    again = lm.onnx.load(lm.onnx.encode(loaded, X))
    assert [row.path for row in lm.profile(again, X, seconds=0.01).rows] == places


def test_updates_are_taken_back():
    net = nn.Sequential(nn.BatchNorm1d(24), nn.Linear(24, 2)).train()
    before = {name: value.tobytes() for name, value in net.state_dict().items()}
    assert lm.profile(net, X, seconds=0.01).rows
    assert {name: value.tobytes() for name, value in net.state_dict().items()} == before
    net(X)
    assert net[0].num_batches_tracked.data == 1


def test_failures_and_refusals():
    table = nn.Embedding(4, 3)
    with pytest.raises(IndexError, match="index out of range"):
        lm.profile(table, np.array([5]))
    for wrong in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="no time"):
            lm.profile(table, np.array([1]), seconds=wrong)
    with pytest.raises(lm.ShapeError):
        lm.profile(nn.Linear(3, 2), X)


class TestProgram:
    def test_times_in_order(self):
        program = lm.compile(Mixed().eval(), X).program
        times = program.profile([X], 3)
        assert len(times) == len(program.steps)
        assert all(time >= 0 for time in times)

    def test_runs_between_profiles_are_ordinary(self):
        net = Mixed().eval()
        program = lm.compile(net, X).program
        expected = [y.copy() for y in program.run([X])]
        program.profile([X], 2)
        for got, y in zip(program.run([X]), expected, strict=True):
            np.testing.assert_array_equal(got, y)

    def test_refusals(self):
        program = lm.compile(Mixed().eval(), X).program
        with pytest.raises(ValueError, match="rounds >= 1"):
            program.profile([X], 0)
        with pytest.raises(ValueError, match="input 0 is"):
            program.profile([X.astype(np.float64)], 1)
        with pytest.raises(ValueError, match="expected 1"):
            program.profile([], 1)

    def test_beside_runs_and_assignments(self, threads):
        net = nn.Linear(24, 8).eval()
        program = lm.compile(net, X).program
        done = threading.Event()

        def disturb():
            while not done.is_set():
                net.weight.data = net.weight.data
                program.run([X])

        thread = threading.Thread(target=disturb)
        thread.start()
        try:
            for _ in range(50):
                assert len(program.profile([X], 5)) == len(program.steps)
        finally:
            done.set()
            thread.join()

    def test_team(self):
        small = lm.compile(nn.Linear(4, 4), np.zeros((1, 4), np.float32)).program
        large = lm.compile(nn.Linear(1024, 1024), np.zeros((64, 1024), np.float32)).program
        before = _core.num_threads()
        try:
            for count in (1, 2):
                _core.set_num_threads(count)
                assert (small.team, large.team) == (1, count)
        finally:
            _core.set_num_threads(before)
