# SPDX-License-Identifier: Apache-2.0
"""Module: attributes, the tree, state, modes, dtypes and looks; nothing here depends on numbers."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict

import numpy as np
import pytest

from comparators import same_bits
from lamella import nn
from lamella.errors import DTypeError, FormatError, UnsupportedError


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 4)
        self.fc2 = nn.Linear(4, 4, bias=False)
        self.scale = nn.Parameter([1.0, 2.0, 3.0, 4.0])
        self.register_buffer("offset", np.arange(4, dtype=np.float32))
        self.register_buffer("scratch", np.zeros(2, np.float32), persistent=False)
        self.name = "block"

    def forward(self, x):
        return self.fc2(self.fc1(x)) * self.scale + self.offset


X = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)


def test_attributes_are_sorted_into_tables():
    block = Block()
    assert [name for name, _ in block.named_children()] == ["fc1", "fc2"]
    assert [name for name, _ in block.named_parameters()] == [
        "scale", "fc1.weight", "fc1.bias", "fc2.weight"]  # fmt: skip
    assert [name for name, _ in block.named_buffers()] == ["offset", "scratch"]
    assert list(block.state_dict()) == [
        "scale", "offset", "fc1.weight", "fc1.bias", "fc2.weight"]  # fmt: skip
    assert block.fc2.bias is None
    assert {"fc1", "scale", "offset", "forward"} <= set(dir(block))


def test_a_name_holds_one_thing_at_a_time():
    block = Block()
    block.scale = nn.Linear(1, 1)
    assert isinstance(block.scale, nn.Linear)
    assert "scale" not in dict(block.named_parameters(recurse=False))
    block.scale = nn.Parameter([1.0])
    assert "scale" not in dict(block.named_children())
    block.name = nn.Buffer([1.0])
    assert "name" in dict(block.named_buffers())
    del block.name
    assert not hasattr(block, "name")
    with pytest.raises(AttributeError, match="Block has no attribute 'nothing'"):
        _ = block.nothing


@pytest.mark.parametrize("value", [3, np.zeros(4), "text", nn.ReLU])
def test_a_parameter_is_not_replaced_by_something_plain(value):
    block = Block()
    with pytest.raises(TypeError, match=r"Block\.scale: .* nn\.Parameter or None.*\.data = "):
        block.scale = value
    with pytest.raises(TypeError, match=r"nn\.Module or None"):
        block.fc1 = value
    assert isinstance(block.scale, nn.Parameter)


def test_buffers_take_arrays():
    block = Block()
    before = block.offset
    block.offset = np.ones(4)
    assert block.offset is before
    same_bits(np.asarray(block.offset), np.ones(4, np.float32))
    block.offset = None
    assert block.offset is None
    block.offset = [1, 2]
    same_bits(np.asarray(block.offset), np.array([1, 2]))


@pytest.mark.parametrize("name", ["", "a.b", 3, "forward", "fc1"])
def test_bad_names_are_refused(name):
    block = Block()
    for register, value in (
        (block.register_parameter, nn.Parameter([1.0])),
        (block.register_buffer, [1.0]),
        (block.register_module, nn.ReLU()),
    ):
        if name == "fc1" and register == block.register_module:
            continue
        with pytest.raises(ValueError, match="register_"):
            register(name, value)


def test_other_kinds_are_refused():
    with pytest.raises(TypeError, match=r"expected nn\.Parameter or None"):
        Block().register_parameter("p", np.zeros(2))
    with pytest.raises(TypeError, match=r"expected nn\.Module or None"):
        Block().add_module("p", nn.ReLU)


def test_the_tree():
    net = nn.Sequential(OrderedDict(a=Block(), b=nn.Sequential(nn.ReLU())))
    assert [name for name, _ in net.named_modules()] == ["", "a", "a.fc1", "a.fc2", "b", "b.0"]
    assert net.get_submodule("a.fc1") is net.a.fc1
    assert net.get_submodule("") is net
    assert net.get_parameter("a.fc1.weight") is net.a.fc1.weight
    assert net.get_buffer("a.offset") is net.a.offset
    for find, target in (
        (net.get_submodule, "a.fc3"),
        (net.get_submodule, "a.scale"),
        (net.get_parameter, "a.offset"),
        (net.get_buffer, "a.fc1"),
        (net.get_parameter, "a.scale.x"),
    ):
        with pytest.raises(AttributeError, match="Sequential"):
            find(target)


def test_shared_modules_and_parameters_are_visited_once():
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    net.append(net[0])
    net.append(nn.Linear(4, 4))
    net[3].weight = net[0].weight
    assert len(list(net.modules())) == 4
    assert len(list(net.parameters())) == 3
    assert len(list(net.children())) == 3
    assert list(net.state_dict()) == [
        "0.weight", "0.bias", "2.weight", "2.bias", "3.weight", "3.bias"]  # fmt: skip
    twin = copy.deepcopy(net)
    assert twin[3].weight is twin[0].weight
    assert twin[2] is twin[0]
    again = pickle.loads(pickle.dumps(net))
    assert again[3].weight is again[0].weight
    assert again[3].weight is not net[0].weight


def test_modes():
    net = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout()))
    assert net.training
    assert net.eval() is net
    assert not any(module.training for module in net.modules())
    net[1].train()
    assert [module.training for module in net.modules()] == [False, False, True, True]
    with pytest.raises(TypeError, match="train: "):
        net.train(1)


def test_requires_grad_and_apply():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    assert net.requires_grad_(False) is net
    assert not any(p.requires_grad for p in net.parameters())
    net[1].weight.requires_grad_()
    assert [p.requires_grad for p in net.parameters()] == [False, False, True, False]
    assert not copy.deepcopy(net)[0].weight.requires_grad
    seen = []
    assert net.apply(seen.append) is net
    assert seen == [net[0], net[1], net]


def test_state_dict_is_a_snapshot():
    layer = nn.Linear(2, 2)
    state = layer.state_dict()
    kept = {name: np.array(value) for name, value in state.items()}
    layer.weight.data = np.zeros((2, 2))
    for name, value in state.items():
        same_bits(value, kept[name])
    with pytest.raises(ValueError, match="read-only"):
        state["weight"][0] = 0
    assert list(layer.state_dict(prefix="x.")) == ["x.weight", "x.bias"]


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4", np.int32, bool])
def test_load_state_dict_casts(dtype):
    layer = nn.Linear(2, 3)
    state = {"weight": np.ones((3, 2), dtype), "bias": np.zeros(3, dtype)[::-1]}
    assert layer.load_state_dict(state) == ([], [])
    same_bits(np.asarray(layer.weight), np.ones((3, 2), np.float32))


def test_load_state_dict_not_strict():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    result = net.load_state_dict({"0.bias": np.ones(2), "other": np.ones(1)}, strict=False)
    assert result.missing_keys == ["0.weight", "1.weight", "1.bias"]
    assert result.unexpected_keys == ["other"]
    same_bits(np.asarray(net[0].bias), np.ones(2, np.float32))
    with pytest.raises(FormatError, match=r"0\.bias: another shape; got value=\(3,\)"):
        net.load_state_dict({"0.bias": np.ones(3)}, strict=False)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Linear(3, 4), nn.Linear(3, 4)
        self.head.weight = self.embed.weight

    def forward(self, x):
        return self.embed(x) + self.head(x)


@pytest.mark.parametrize("dropped", ["embed.weight", "head.weight"])
def test_one_name_of_a_tied_parameter_is_enough(dropped):
    net, twin = Tied(), Tied()
    state = dict(net.state_dict())
    del state[dropped]
    assert twin.load_state_dict(state) == ([], [])
    same_bits(np.asarray(twin.head.weight), np.asarray(net.head.weight))
    assert twin.head.weight is twin.embed.weight
    del state["head.bias"]
    with pytest.raises(FormatError, match=r"missing head\.bias; expected"):
        twin.load_state_dict(state)
    state = {name: array for name, array in net.state_dict().items() if "weight" not in name}
    assert twin.load_state_dict(state, strict=False).missing_keys == ["embed.weight", "head.weight"]


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "module.module."]
)
def test_prefixes_of_wrappers_pytorch_3805(prefix):
    net, twin = nn.Sequential(nn.Linear(2, 3), Tied()), nn.Sequential(nn.Linear(2, 3), Tied())
    state = {prefix + name: array for name, array in net.state_dict().items()}
    assert twin.load_state_dict(state) == ([], [])
    same_bits(np.asarray(twin[0].weight), np.asarray(net[0].weight))
    state["other"] = np.ones(1)
    if "module." in prefix:  # not DataParallel's: it wraps everything
        with pytest.raises(FormatError, match="unexpected other"):
            twin.load_state_dict(state)
    assert twin.load_state_dict({f"{prefix}0.bias": np.ones(3)}, strict=False).unexpected_keys == []
    same_bits(np.asarray(twin[0].bias), np.ones(3, np.float32))


def test_a_compiled_part_and_a_part_of_that_name():
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    state = {f"0._orig_mod.{n}": a for n, a in net[0].state_dict().items()}
    state |= {f"1.{n}": a for n, a in net[1].state_dict().items()}
    assert net.load_state_dict(state) == ([], [])

    class Wrapper(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.module = inner

        def forward(self, x):
            return self.module(x)

    wrapped = Wrapper(nn.Linear(2, 3))
    assert list(wrapped.state_dict()) == ["module.weight", "module.bias"]
    assert wrapped.load_state_dict(wrapped.state_dict()) == ([], [])
    doubled = {f"module.{name}": array for name, array in wrapped.state_dict().items()}
    with pytest.raises(FormatError, match=r"missing module\.weight"):
        wrapped.load_state_dict({**doubled, "weight": np.ones((3, 2))})


def test_load_state_dict_into_another_tree_names_both_sides():
    with pytest.raises(FormatError) as caught:
        nn.Linear(2, 3).load_state_dict(nn.Sequential(nn.Linear(2, 3)).state_dict())
    for part in ("missing weight", "missing bias", "unexpected 0.weight", "Nothing was changed"):
        assert part in str(caught.value)


def test_dtypes():
    block = Block()
    parameter = block.scale
    assert block.double() is block
    assert block.scale is parameter
    assert {p.data.dtype for p in block.parameters()} == {np.dtype(np.float64)}
    assert block(X).dtype == np.float64
    assert block.float()(X.astype(np.float64)).dtype == np.float32
    assert block.to("cpu") is block
    assert block.to(np.float64).to("float32").fc1.weight.data.dtype == np.float32
    with pytest.raises(UnsupportedError, match="only CPUs"):
        block.to("cuda:0")
    for bad in ("int64", np.complex64, "float99", 3):
        with pytest.raises((DTypeError, TypeError)):
            block.to(bad)
    assert nn.BatchNorm1d(2).double().state_dict()["num_batches_tracked"].dtype == np.int64


def test_layers_can_be_made_in_float64():
    layer = nn.Linear(4, 2, dtype=np.float64)
    assert layer(X).dtype == np.float64
    with pytest.raises(DTypeError, match="floating"):
        nn.Linear(4, 2, dtype=np.int64)
    with pytest.raises(UnsupportedError, match="only CPUs"):
        nn.Linear(4, 2, device="cuda")
    assert nn.Linear(4, 2, device="cpu", dtype="float32").weight.data.dtype == np.float32


def test_repr_nests():
    assert repr(nn.Sequential()) == "Sequential()"
    assert repr(nn.Sequential(nn.Sequential(nn.ReLU()))) == (
        "Sequential(\n  (0): Sequential(\n    (0): ReLU()\n  )\n)"
    )


def test_without_forward():
    class Empty(nn.Module):
        pass

    with pytest.raises(UnsupportedError, match="Empty: this module has no forward"):
        Empty()(X)
    for container in (nn.ModuleList(), nn.ModuleDict(), nn.ParameterList()):
        with pytest.raises(UnsupportedError, match="has no forward"):
            container(X)


def test_super_init_may_be_left_out():
    class Short(nn.Module):
        def __init__(self):
            self.inner = nn.Linear(4, 2)

        def forward(self, x):
            return self.inner(x)

    assert Short()(X).shape == (3, 2)


def states():
    """Pickled states that no module wrote."""
    good = nn.Linear(2, 2).__getstate__()
    yield "not a dict", [1, 2]
    yield "no mode", {k: v for k, v in good.items() if k != "training"}
    yield "no tables", {"training": True}
    yield "an array for a parameter", {**good, "_parameters": {"weight": np.zeros((2, 2))}}
    yield "a buffer for a parameter", {**good, "_parameters": {"weight": nn.Buffer([1.0])}}
    yield "a number for a name", {**good, "_parameters": {1: None}}
    yield "an object for a module", {**good, "_modules": {"a": object()}}
    yield "programs", {**good, "_compiled": object()}


@pytest.mark.parametrize(("what", "state"), list(states()), ids=lambda value: str(value)[:30])
def test_foreign_pickles_are_refused(what, state):
    with pytest.raises(FormatError, match="pickled state"):
        nn.Linear.__new__(nn.Linear).__setstate__(state)


def test_nothing_compiled_is_pickled():
    block = Block()
    fresh = len(pickle.dumps(block))
    for count in range(1, 6):
        block(np.zeros((count, 4), np.float32))
    assert len(pickle.dumps(block)) == fresh
