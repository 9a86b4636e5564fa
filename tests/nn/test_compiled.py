# SPDX-License-Identifier: Apache-2.0
"""From call to program: what is answered without Python must be what forward means now."""

from __future__ import annotations

import gc
import multiprocessing
import threading
import weakref

import numpy as np
import pytest

import lamella as lm
from comparators import same_bits, within_product_bound
from lamella import functional as F
from lamella import nn
from lamella.errors import DTypeError, ShapeError, UnsupportedError


def draw(*shape: int, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


X = draw(3, 4)


def counting(inner: nn.Module) -> tuple[nn.Module, list[int]]:
    """A module y = inner(x), and a list that grows whenever its forward runs."""
    runs: list[int] = []

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x):
            runs.append(1)
            return self.inner(x)

    return Counting(), runs


def thrice(module, *inputs):
    """The result of a call that compiled, or not, and of two that did not."""
    first = np.array(module(*inputs))
    for _ in range(2):
        same_bits(np.array(module(*inputs)), first)
    return first


def test_forward_runs_once_per_signature():
    net, runs = counting(nn.Linear(4, 2))
    for count in (1, 3, 1, 3, 1):
        for _ in range(3):
            net(np.zeros((count, 4), np.float32))
    assert len(runs) == 2
    net(np.zeros((1, 4), np.float64))
    assert len(runs) == 3


def test_values_of_parameters_are_current():
    net = nn.Sequential(nn.Linear(4, 20), nn.ReLU(), nn.Linear(20, 2))
    thrice(net, X)
    net[0].weight.data = net[0].weight.data * 2
    want = F.linear(np.maximum(F.linear(X, np.asarray(net[0].weight), np.asarray(net[0].bias)), 0),
                    np.asarray(net[2].weight), np.asarray(net[2].bias))  # fmt: skip
    same_bits(thrice(net, X), want)
    net.load_state_dict({name: np.zeros_like(a) for name, a in net.state_dict().items()})
    assert not thrice(net, X).any()
    nn.init.ones_(net[2].bias)
    assert (thrice(net, X) == 1).all()


def test_changes_of_the_structure_are_noticed():
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    linear = thrice(nn.Sequential(net[0]), X)
    same_bits(thrice(net, X), np.maximum(linear, 0))
    net[1] = nn.Hardtanh(-0.25, 0.25)
    same_bits(thrice(net, X), np.clip(linear, -0.25, 0.25).astype(np.float32))
    net[1].max_val = 0.5
    same_bits(thrice(net, X), np.clip(linear, -0.25, 0.5).astype(np.float32))
    del net[1]
    same_bits(thrice(net, X), linear)
    net.append(nn.ReLU())
    same_bits(thrice(net, X), np.maximum(linear, 0))
    net[0].bias = None
    same_bits(thrice(net, X), np.maximum(F.linear(X, np.asarray(net[0].weight)), 0))
    net[0].weight = nn.Parameter(np.eye(4, dtype=np.float32))
    same_bits(thrice(net, X), np.maximum(X, 0))


def test_a_change_inside_is_noticed_outside():
    inner = nn.Sequential(nn.ReLU())
    outer = nn.Sequential(nn.Sequential(inner))
    same_bits(thrice(outer, X), np.maximum(X, 0))
    inner[0] = nn.Identity()
    same_bits(thrice(outer, X), X)


def test_modes_switch_back_and_forth_without_compiling_again():
    net, runs = counting(nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 2)))
    for _ in range(3):
        net.train()(X)
        net.eval()(X)
    assert len(runs) == 2


def test_plain_attributes_count():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.factor, self.flags = 2.0, {"negate": False, "powers": (1,)}

        def forward(self, x):
            y = x * self.factor
            return -y if self.flags["negate"] else y

    net = Scaled()
    same_bits(thrice(net, X), X * 2)
    net.factor = 3.0
    same_bits(thrice(net, X), X * 3)
    net.flags = {"negate": True}
    same_bits(thrice(net, X), X * -3)
    net.factor = 3
    same_bits(thrice(net, X), X * -3)


def test_clear_cache_makes_unseen_changes_seen():
    class Listed(nn.Module):
        def __init__(self):
            super().__init__()
            self.signs = np.ones(4, np.float32)

        def forward(self, x):
            return x * self.signs

    net = Listed()
    same_bits(thrice(net, X), X)
    net.signs[:] = -1
    lm.clear_cache()
    same_bits(thrice(net, X), -X)


def test_attributes_set_by_forward_do_not_compile_for_ever():
    class Noting(nn.Module):
        runs = 0

        def forward(self, x):
            type(self).runs += 1
            self.hidden = x * 2
            self.shape = x.shape
            return self.hidden + 1

    net = Noting()
    for _ in range(5):
        same_bits(net(X), X * 2 + 1)
    assert Noting.runs == 1
    assert net.shape == (3, 4)


def test_tensors_kept_by_forward_do_not_compile_for_ever():
    class Net(nn.Module):
        runs = 0

        def forward(self, x):
            Net.runs += 1
            self.last = x
            self.kept = [x.shape]
            return x * 2

    net = Net()
    for rows in (1, 1, 2, 2):
        same_bits(np.array(net(X[:rows])), X[:rows] * 2)
    assert Net.runs == 2


def test_nested_inputs_and_outputs():
    class Tree(nn.Module):
        def forward(self, pair, named, *, bias=None, factor=1.0):
            a, b = pair
            total = a + b + named["c"]
            if bias is not None:
                total = total + bias
            return {"total": total * factor, "parts": [a, (b, None)]}

    net = Tree()
    for given in (None, X):
        for factor in (1.0, 2.0):
            result = net((X, X * 2), {"c": X * 3}, bias=given, factor=factor)
            want = ((X + X * 2) + X * 3 if given is None else (X + X * 2) + X * 3 + X) * factor
            same_bits(result["total"], want.astype(np.float32))
            same_bits(result["parts"][0], X)
            same_bits(result["parts"][1][0], X * 2)
            assert result["parts"][1][1] is None


def test_tuples_and_keywords():
    class Two(nn.Module):
        def forward(self, x, other=None, *, flip=False):
            other = x if other is None else other
            return (other, x) if flip else (x, other)

    net, y = Two(), X + 1
    for _ in range(3):
        for call, want in (
            (net(X), (X, X)),
            (net(X, y), (X, y)),
            (net(X, other=y), (X, y)),
            (net(other=y, x=X), (X, y)),
            (net(X, y, flip=True), (y, X)),
        ):
            assert type(call) is tuple
            for got, expected in zip(call, want, strict=True):
                same_bits(np.array(got), expected)


def test_results_are_no_inputs():
    x = X.copy()
    y = nn.Identity()(x)
    assert not np.shares_memory(x, y)
    a, b = nn.Sequential(nn.Identity())(x), nn.Identity()(x)
    assert not np.shares_memory(a, b)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.longdouble, ">f4", ">f8"])
def test_floating_inputs_take_the_nets_dtype(dtype):
    net = nn.Sequential(nn.Linear(4, 2))
    x = X.astype(dtype)
    same_bits(thrice(net, x), net(x.astype(np.float32)).copy())


def test_lists_of_numbers_are_arrays():
    net = nn.Linear(2, 2)
    same_bits(thrice(net, [[1.0, 2.0], [3.0, 4.0]]), net(np.float32([[1, 2], [3, 4]])).copy())
    table = nn.Embedding(5, 2)
    same_bits(thrice(table, [[0, 4]]), np.asarray(table.weight)[[[0, 4]]])


def test_out():
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    want = thrice(net, X)
    for form in (np.empty((3, 3), np.float32), np.empty((3, 6), np.float32)[:, ::2]):
        for _ in range(2):
            form[...] = np.nan
            assert net(X, out=form) is form
            same_bits(np.ascontiguousarray(form), want)
    with pytest.raises(ShapeError, match="out"):
        net(X, out=np.empty((2, 3), np.float32))
    with pytest.raises(DTypeError, match="out"):
        net(X, out=np.empty((3, 3)))
    square, x = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), X.copy()
    want = thrice(square, x)
    assert square(x, out=x) is x
    same_bits(x, want)


def test_buffers_carry_state_between_calls():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("state", np.zeros((3, 4), np.float32))

        def forward(self, x):
            self.state = self.state * 0.5 + x
            return self.state + 1

    net, state = Recurrent(), np.zeros((3, 4), np.float32)
    for _ in range(4):
        state = state * np.float32(0.5) + X
        same_bits(net(X), state + 1)
        same_bits(np.array(net.state), state)
    net.state = np.zeros((3, 4))
    same_bits(net(X), X + 1)


def test_parameters_in_expressions():
    class Affine(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(draw(4, 5))
            self.b = nn.Parameter(draw(5, seed=6))

        def forward(self, x):
            return x @ self.w + self.b[None, :] - (1 - self.b)

    net = Affine()
    b = np.asarray(net.b)
    addends = (b, b, -np.ones(5, np.float32))
    within_product_bound(thrice(net, X), X, np.asarray(net.w), addends=addends, extra=6)


def test_shared_layers_and_skips():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            return x + self.fc(x + self.fc(x))

    net = Shared()
    inner = X + thrice(net.fc, X)
    same_bits(thrice(net, X), X + thrice(net.fc, inner))


def test_a_module_that_runs_alone_still_runs_inside():
    """Its own fast path must not answer, with constants, a call that is being traced."""

    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 2)

        def forward(self, x):
            return self.fc(X) + x

    net, zero = Constant(), np.zeros((3, 2), np.float32)
    alone = thrice(net.fc, X)
    same_bits(thrice(net, zero), alone)
    net.fc.weight.data = np.zeros((2, 4))
    same_bits(thrice(net, zero), np.broadcast_to(np.asarray(net.fc.bias), (3, 2)) + zero)


def test_value_dependent_python_is_refused_at_its_line():
    class Branch(nn.Module):
        def forward(self, x):
            if x.sum() > 0:
                return x
            return -x

    with pytest.raises(UnsupportedError, match=r"truth value.*test_compiled\.py, line \d+"):
        Branch()(X)
    with pytest.raises(UnsupportedError, match="no function is being traced"):
        _ = nn.Linear(2, 2).weight + 1


def test_errors_name_the_module():
    class Deep(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(4, 4), nn.GLU(), nn.Linear(4, 4))])

        def forward(self, x):
            return self.blocks[0](x)

    net = Deep()
    with pytest.raises(ShapeError, match=r"\(at blocks\.0\.2\)$"):
        net(X)
    net.blocks[0][1] = nn.GLU(dim=0)
    with pytest.raises(ShapeError, match=r"glu: no halves.*\(at blocks\.0\.1\)$"):
        net(X)
    net.blocks[0][1] = nn.ReLU()
    assert net(X).shape == (3, 4)


def test_integers_are_for_indices():
    with pytest.raises(DTypeError, match=r"astype\(np\.float32\)"):
        nn.Linear(4, 2)(np.zeros((3, 4), np.int64))
    with pytest.raises(IndexError):
        nn.Embedding(4, 2)(np.array([4]))


def test_sessions_cast_like_calls():
    net = nn.Linear(4, 2)
    session = lm.compile(net, X.astype(np.float64))
    assert session(X.astype(np.float64)).dtype == np.float32
    same_bits(session(X.astype(np.float64)), net(X).copy())


def test_many_signatures_stay_right():
    net = nn.Linear(4, 2)
    inputs = [draw(count, 4, seed=count) for count in range(1, 60)]
    want = [net(x).copy() for x in inputs]
    for _ in range(2):
        for x, y in zip(inputs, want, strict=True):
            same_bits(net(x).copy(), y)


def test_modules_are_freed():
    net = nn.Sequential(nn.Linear(4, 2), nn.ReLU())
    net(X)
    gone = weakref.ref(net[0])
    del net
    gc.collect()
    assert gone() is None


def answer(net, sender):
    sender.send(net(X[::-1]).tobytes())
    sender.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_does_not_wait_for_a_thread_it_does_not_have():
    """Forked while another thread is in the middle of a compilation."""
    net = nn.Linear(4, 2)
    want = net(X[::-1]).tobytes()
    held, done = threading.Event(), threading.Event()

    def hold():
        with net._compiled.lock:
            held.set()
            done.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=answer, args=(net, sender))
    child.start()
    sender.close()
    try:
        assert receiver.poll(30), "the child hangs"
        assert receiver.recv() == want
    finally:
        done.set()
        holder.join()
        child.kill()
        child.join()


def test_sixteen_threads_compile_at_once():
    net, runs = counting(nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)))
    start, results, failed = threading.Barrier(16), [], []

    def work():
        try:
            start.wait()
            results.append(np.array(net(X)))
        except BaseException as error:
            failed.append(error)

    team = [threading.Thread(target=work) for _ in range(16)]
    for member in team:
        member.start()
    for member in team:
        member.join()
    assert not failed
    assert len(runs) == 1
    for result in results:
        same_bits(result, results[0])
