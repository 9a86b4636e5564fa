# SPDX-License-Identifier: Apache-2.0
"""Containers behave like the lists and dictionaries they are named after."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest

from comparators import same_bits
from lamella import nn

X = np.random.default_rng(2).normal(size=(3, 4)).astype(np.float32)


def layers(count: int) -> list[nn.Module]:
    return [nn.Linear(4, 4) for _ in range(count)]


@pytest.mark.parametrize("make", [lambda m: nn.Sequential(*m), nn.ModuleList])
def test_lists(make):
    first = layers(4)
    box, mirror = make(first), list(first)

    def check():
        assert list(box) == mirror
        assert len(box) == len(mirror)
        assert [name for name, _ in box.named_children()] == [str(i) for i in range(len(mirror))]

    check()
    assert box[0] is first[0]
    assert box[-1] is first[3]
    extra = layers(4)
    for one in (box, mirror):
        one.append(extra[0])
        one.insert(1, extra[1])
        one.extend(extra[2:])
    check()
    for index in (0, -1, slice(1, 3)):
        for one in (box, mirror):
            del one[index]
        check()
    assert box.pop(1) is mirror.pop(1)
    check()
    replacement = nn.ReLU()
    box[1] = mirror[1] = replacement
    check()
    assert list(box[1:]) == mirror[1:]
    assert type(box[1:]) is type(box)
    for index in (10, -10):
        with pytest.raises(IndexError, match="no such child"):
            _ = box[index]
        with pytest.raises(IndexError):
            del box[index]
    with pytest.raises(TypeError, match=r"expected nn\.Module"):
        box.append(nn.ReLU)
    with pytest.raises(TypeError, match=r"expected nn\.Module"):
        box[0] = 3
    assert bool(make([]))


def test_slices_of_a_sequential_share_its_layers_and_names():
    net = nn.Sequential(*layers(3)).eval()
    tail = net[1:]
    assert list(tail.state_dict()) == ["1.weight", "1.bias", "2.weight", "2.bias"]
    assert not tail.training
    same_bits(tail(net[:1](X)), net(X).copy())
    tail[0].weight.data = np.zeros((4, 4))
    assert not net[1].weight.data.any()


def test_sequential_of_a_dictionary():
    net = nn.Sequential(OrderedDict(fc=nn.Linear(4, 2), act=nn.ReLU()))
    assert list(net.state_dict()) == ["fc.weight", "fc.bias"]
    assert net.act is net[1]
    assert (nn.Sequential(nn.ReLU()) + nn.Sequential(nn.Tanh()))[1].__class__ is nn.Tanh
    assert nn.Sequential()(X).shape == X.shape
    with pytest.raises(TypeError, match=r"expected nn\.Module"):
        nn.Sequential(nn.ReLU(), None)


def test_module_list_adds():
    a, b = layers(2), layers(1)
    box = nn.ModuleList(a)
    assert list(box + b) == a + b
    box += b
    assert list(box) == a + b


def test_module_dict():
    a, b = layers(2)
    box = nn.ModuleDict({"a": a})
    box["b"] = b
    box.update([("c", nn.ReLU())])
    assert list(box) == list(box.keys()) == ["a", "b", "c"]
    assert list(box.values())[:2] == [a, b]
    assert dict(box.items())["b"] is b
    assert "a" in box
    assert "z" not in box
    assert len(box) == 3
    assert [name for name, _ in box.named_parameters()] == [
        "a.weight", "a.bias", "b.weight", "b.bias"]  # fmt: skip
    box["a"] = b
    assert box.pop("a") is b
    del box["b"]
    assert list(box) == ["c"]
    for bad in ("x.y", "forward", ""):
        with pytest.raises(ValueError, match="register_module"):
            box[bad] = a
    with pytest.raises(KeyError):
        _ = box["nothing"]
    assert bool(nn.ModuleDict())


def test_parameter_list():
    class Scales(nn.Module):
        def __init__(self):
            super().__init__()
            self.scales = nn.ParameterList([nn.Parameter([2.0]), np.float32([3.0])])

        def forward(self, x):
            for scale in self.scales:
                x = x * scale
            return x * self.scales[0]

    net = Scales()
    same_bits(net(X), X * 2 * 3 * 2)
    assert len(net.scales.append([1.0])) == 3
    assert [name for name, _ in net.named_parameters()] == ["scales.0", "scales.1", "scales.2"]
