# SPDX-License-Identifier: Apache-2.0
"""Bad input at the other doors of the package: compile, sessions, settings, init, summary, core.

As everywhere: a documented refusal or a right result, and the object stays usable.
"""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import lamella as lm
import lamella.functional as F
from comparators import same_bits
from hostile.arrays import OTHERS
from hostile.refusals import REFUSALS, check_refusal
from lamella import _core, nn
from lamella.errors import UnsupportedError
from lamella.nn import init

X = np.random.default_rng(110).uniform(0.25, 1, (5, 6)).astype(np.float32)


def named(value: object) -> str:
    """repr, but for an address: tests have the same names in every process."""
    return "object()" if type(value) is object else repr(value)


STATIC = (None, "x", 1.5, -1, 0, 10**30, np.nan, (), [], {}, b"x", object(), True, 1 + 2j)
INIT = sorted(name for name in init.__dict__ if name.endswith("_") and not name.startswith("_"))


def refused_or_done(call) -> object:
    """The result, or None after a documented refusal."""
    try:
        return call()
    except (*REFUSALS, MemoryError) as error:
        if not isinstance(error, MemoryError):
            check_refusal(error)
        return None


@pytest.mark.parametrize("form", OTHERS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_sessions(form):
    """A session is compiled for one signature and takes nothing else."""
    session = lm.compile(lambda x: {"y": F.tanh(x)}, X)
    want = session(X)["y"].copy()
    try:
        thing = OTHERS[form](X)
    except (ValueError, TypeError, OverflowError):
        pytest.skip("cannot be made")
    got = refused_or_done(lambda: session(thing))
    if got is not None:
        assert got["y"].shape == X.shape
    same_bits(session(X)["y"].copy(), want)


def test_sessions_with_other_arguments():
    session = lm.compile(F.add, X, X)
    for arguments in ((), (X,), (X, X, X), (X, X[:1]), ((X, X),)):
        with pytest.raises(REFUSALS):
            session(*arguments)
    with pytest.raises(REFUSALS):
        session(X, X, no_such_argument=1)
    same_bits(session(X, X).copy(), X + X)


@pytest.mark.parametrize("body", [None, 1, "x", X, len, lambda: X, lambda x: None, lambda x: "y"])
def test_compile_of_other_things(body):
    refused_or_done(lambda: lm.compile(body, X))


def test_branches_on_values_name_the_line():
    def body(x):
        if x.sum() > 0:
            return x
        return -x

    for wrong in (body, lambda x: float(x.sum()), np.asarray, lambda x: [0.0][x]):
        with pytest.raises(UnsupportedError) as caught:
            lm.compile(wrong, X)
        assert "test_entries.py" in str(caught.value)
    assert lm.compile(lambda x: F.abs(x), X)(X).shape == X.shape


@pytest.mark.parametrize("static", STATIC, ids=named)
def test_settings(static):
    before = lm.get_num_threads()
    try:
        for call in (lm.set_num_threads, lm.manual_seed, _core.select_isa):
            isa = _core.isa()
            refused_or_done(lambda call=call: call(static))
            _core.select_isa(isa)
        assert lm.get_num_threads() >= 1
    finally:
        lm.set_num_threads(before)
    for count in (0, -1, -(2**31)):
        with pytest.raises(ValueError, match="thread"):
            lm.set_num_threads(count)
    assert lm.get_num_threads() == before


def test_an_unknown_instruction_set():
    before = _core.isa()
    with pytest.raises(ValueError, match="mmx"):
        _core.select_isa("mmx")
    assert _core.isa() == before


@pytest.mark.parametrize("static", STATIC, ids=named)
@pytest.mark.parametrize("name", INIT)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_init(name, static):
    function = getattr(init, name)
    refused_or_done(lambda: function(static))
    for parameter in list(inspect.signature(function).parameters)[1:]:
        weight = nn.Parameter(np.ones((3, 4), np.float32))
        refused_or_done(lambda p=parameter, w=weight: function(w, **{p: static}))
        assert weight.shape == (3, 4)


@pytest.mark.parametrize("shape", [(), (1,), (0,), (0, 3), (3, 0), (2, 3, 4), (1, 1)])
@pytest.mark.parametrize("name", INIT)
def test_init_of_any_shape(name, shape):
    weight = nn.Parameter(np.ones(shape, np.float32))
    arguments = (1.5,) if name == "constant_" else ()
    refused_or_done(lambda: getattr(init, name)(weight, *arguments))
    assert weight.shape == shape
    assert np.isfinite(np.asarray(weight)).all()


@pytest.mark.parametrize(
    "static", [*STATIC, (5, 6), (5, -6), (5, 2**62), ("a", 6), (5.0, 6)], ids=named
)
def test_summary(static):
    net = nn.Sequential(nn.Linear(6, 3), nn.ReLU())
    before = net(X).copy()
    result = refused_or_done(lambda: net.summary(static))
    if result is not None:
        assert str(result)
    same_bits(net(X).copy(), before)


@pytest.mark.parametrize("bad", [None, 1, "x", object(), np.zeros(3), {}, [nn.ReLU()]], ids=named)
def test_containers(bad):
    for container in (nn.Sequential, nn.ModuleList, nn.ModuleDict):
        made = refused_or_done(lambda container=container: container(bad))
        if made is not None:
            assert len(list(made.children())) <= 1
    net = nn.Sequential(nn.ReLU())
    for call in (lambda: net.append(bad), lambda: net.add_module("x", bad)):
        refused_or_done(call)
    for index in (5, -5, "a", 1.5, None):
        with pytest.raises((IndexError, TypeError, KeyError, AttributeError)):
            net[index]
    assert (net(X) == X).all()


def program() -> _core.Program:
    builder = _core.ProgramBuilder(inputs=[("float32", (5, 6))], outputs=[("float32", (5, 6))])
    spec = _core.CopySpec(item_bytes=4, shape=(5, 6), x_strides=(6, 1), y_strides=(6, 1))
    builder.add(spec, x=builder.input(0), y=builder.output(0))
    return builder.build()


@pytest.mark.parametrize("form", OTHERS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_programs_take_exact_arrays_only(form):
    run = program()
    try:
        thing = OTHERS[form](X)
    except (ValueError, TypeError, OverflowError):
        pytest.skip("cannot be made")
    exact = isinstance(thing, np.ndarray) and thing.dtype == X.dtype and thing.shape == X.shape
    exact = exact and thing.flags.c_contiguous
    if exact:
        same_bits(run.run([thing])[0].copy(), np.asarray(thing))
        return
    with pytest.raises((ValueError, TypeError)):
        run.run([thing])
    with pytest.raises((ValueError, TypeError)):
        run.run([X], [thing])
    for arguments in (([],), ([X, X],), ([X], [])):
        with pytest.raises((ValueError, TypeError)):
            run.run(*arguments)
    frozen = X.copy()
    frozen.flags.writeable = False
    with pytest.raises((ValueError, TypeError)):
        run.run([X], [frozen])


BAD_STEPS = {
    "reads behind the input": {"shape": (5, 7)},
    "strides behind the input": {"x_strides": (7, 1)},
    "strides before the input": {"x_strides": (-6, 1)},
    "writes behind the output": {"y_strides": (7, 1)},
    "wrong number of strides": {"x_strides": (6,)},
    "item of no size": {"item_bytes": 0},
    "huge item": {"item_bytes": 2**62},
    "huge shape": {"shape": (2**32, 2**32)},
    "product that wraps": {"shape": (2**32, 2**32), "x_strides": (0, 0), "y_strides": (0, 0)},
}


@pytest.mark.parametrize("change", BAD_STEPS)
def test_steps_outside_their_buffers_are_refused(change):
    builder = _core.ProgramBuilder(inputs=[("float32", (5, 6))], outputs=[("float32", (5, 6))])
    step = {"item_bytes": 4, "shape": (5, 6), "x_strides": (6, 1), "y_strides": (6, 1)}
    spec = _core.CopySpec(**{**step, **BAD_STEPS[change]})
    with pytest.raises((ValueError, IndexError, OverflowError, MemoryError)):
        builder.add(spec, x=builder.input(0), y=builder.output(0))
    with pytest.raises((ValueError, IndexError)):
        builder.add(_core.CopySpec(**step), x=builder.input(0), y=builder.range(64))
    with pytest.raises((ValueError, IndexError)):
        builder.add(_core.CopySpec(**step), x=builder.input(0), y=builder.input(0))
    for slot in (builder.input, builder.output):
        with pytest.raises((ValueError, IndexError, TypeError, OverflowError)):
            slot(1)
        with pytest.raises((ValueError, IndexError, TypeError, OverflowError)):
            slot(-1)
    with pytest.raises((ValueError, IndexError, TypeError, OverflowError)):
        builder.range(-1)


@pytest.mark.parametrize("shape", [(2**32, 2**32), (2**62, 4), (-1,), (2**63,), ("a",), None])
def test_builders_refuse_impossible_arrays(shape):
    with pytest.raises((ValueError, TypeError, OverflowError, MemoryError)):
        _core.ProgramBuilder(inputs=[("float32", shape)], outputs=[]).build()
    with pytest.raises((ValueError, TypeError, OverflowError)):
        _core.ProgramBuilder(inputs=[("int16", (1,))], outputs=[])


def masked(x: np.ndarray) -> np.ma.MaskedArray:
    return np.ma.masked_array(x, x > x.mean())


@pytest.mark.parametrize(
    "call",
    [
        lambda net, step, m: net(m),
        lambda net, step, m: lm.compile(net, X)(m),
        lambda net, step, m: lm.compile(net, m),
        lambda net, step, m: lm.compile(lambda x: x + m, X),
        lambda net, step, m: lm.compile(lambda x: F.add(x, m), X),
        lambda net, step, m: step(m, X),
        lambda net, step, m: step(X, m),
        lambda net, step, m: step.gradients(X, m),
        lambda net, step, m: lm.fit(net, m, X, loss=nn.MSELoss(), optimizer=step.optimizer),
        lambda net, step, m: lm.fit(net, X, m, loss=nn.MSELoss(), optimizer=step.optimizer),
        lambda net, step, m: nn.Parameter(m),
        lambda net, step, m: nn.Buffer(m),
        lambda net, step, m: setattr(net.weight, "data", m[:, :6].T[:6]),
        lambda net, step, m: net.load_state_dict({"weight": masked(np.eye(6)), "bias": X[0]}),
        lambda net, step, m: step.optimizer.step([masked(np.eye(6)), None]),
        lambda net, step, m: F.relu(X, out=m),
    ],
)
def test_masked_elements_are_read_nowhere(call):
    """What lies under a mask has no meaning; it used to be computed with."""
    net = nn.Linear(6, 6)
    step = lm.TrainStep(net, nn.MSELoss(), lm.optim.SGD(net.parameters(), lr=0.1))
    for _ in range(2):  # the calls are known
        net(X)
        step(X, X)
    before = net.state_dict()
    with pytest.raises(REFUSALS, match="masked"):
        call(net, step, masked(X))
    for name, array in net.state_dict().items():
        same_bits(array, before[name])
    same_bits(net(np.ma.masked_array(X, False)), net(X))
