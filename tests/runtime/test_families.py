# SPDX-License-Identifier: Apache-2.0
"""Families of sizes, by themselves: what is free, which texts are believed, when it is given up."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest

from lamella.runtime import families, programs
from lamella.runtime.families import Families, Made
from lamella.runtime.variants import Recompilations


class Extents:
    def __init__(self, reasons, least):
        self.reasons, self.conditions, self.least = reasons, [], least

    def hold(self, symbols):
        return all(size >= self.least for size in symbols)


class Program:
    """What it computes: (rule, sizes). odd: a size at which texts make another rule."""

    nbytes = 10

    def __init__(self, rule, sizes, free=(), extents=None, odd=None):
        self.rule, self.sizes = rule, sizes
        self._free, self._extents, self._odd = free, extents, odd

    def text(self, *, symbols, conditions):
        assert [tuple(group) for group in self._free] == [tuple(group) for group in symbols]
        return SimpleNamespace(at=self._at, nbytes=100)

    def _at(self, symbols):
        if not self._extents.hold(symbols):
            raise ValueError("a condition does not hold")
        sizes = [list(shape) for shape in self.sizes]
        for size, group in zip(symbols, self._free, strict=True):
            for number, axis in group:
                sizes[number][axis] = size
        rule = "odd" if self._odd in symbols else self.rule
        return Program(rule, tuple(map(tuple, sizes)))


class Compiled:
    nbytes = 1000
    is_sized = False

    def __init__(self, program, free, watched):
        self.program, self.free, self.watched = program, free, watched
        self.extents = program._extents if free else None

    def sized(self, program):
        other = copy.copy(self)
        other.program, other.is_sized, other.nbytes = program, True, 10
        return other

    def program_like(self, other):
        return self.program


class Watched:
    def __init__(self, net):
        self.net, self.value = net, net.value

    def holds(self):
        return self.net.value == self.value

    def changed(self):
        return []


class Net:
    """An owner. value: what its rule is; calls: of `forward`, by what was free."""

    def __init__(self):
        self.families = Families("Net", None)
        self.count = Recompilations("Net")
        self.value, self.reasons, self.least, self.odd, self.raises = "rule", [], 2, None, False
        self.calls = []

    def __call__(self, *shapes, exact=False):
        found = self.families.find("key", shapes, self.count, exact)
        if found is None:

            def compile(free):
                self.calls.append(free)
                if free and self.raises:
                    raise TypeError("no int")
                program = Program(self.value, shapes, free, Extents(self.reasons, self.least),
                                  self.odd)  # fmt: skip
                return Compiled(program, free, Watched(self))

            made = (Made(compile(())) if exact else
                    self.families.compile("key", shapes, compile))  # fmt: skip
            found = self.families.add("key", shapes, made, self.count, self)
        compiled = found.compiled
        assert compiled.program.sizes == shapes
        assert compiled.program.rule == self.value
        assert compiled.watched.holds()
        assert found.entry.kept
        return compiled

    @property
    def family(self):
        return self.families.family("key")


@pytest.fixture(autouse=True)
def _core(monkeypatch):
    def difference(a, b):
        return None if (a.rule, a.sizes) == (b.rule, b.sizes) else "step 3"

    monkeypatch.setattr(families, "_core", SimpleNamespace(difference=difference))
    programs.clear()
    yield
    programs.set_limit(256 << 20)


BATCH = (((0, 0),),)


def test_the_third_size_is_made():
    net = Net()
    assert not net((4, 8)).is_sized
    assert not net((6, 8)).is_sized
    assert net.calls == [(), BATCH]
    for size in (7, 2, 100, 7, 4, 6):
        assert net((size, 8)).is_sized == (size not in (4, 6))
    assert net.calls == [(), BATCH]
    assert net.families.text("key", ((3, 8),)) is net.family.texts[0]
    assert net.families.text("key", ((3, 9),)) is None
    assert net.families.text("key", ((1, 8),)) is None


def test_sizes_of_0_and_1_are_compiled():
    net = Net()
    for size in (0, 1, 5):
        assert not net((size, 8)).is_sized
    # 0 and 1 confirm nothing.
    assert net.calls == [(), (), ()]
    assert not net((9, 8)).is_sized
    assert net((7, 8)).is_sized
    assert not net((1, 8)).is_sized
    assert net.calls == [(), (), (), BATCH]


def test_axes_that_were_equal_are_one():
    net = Net()
    net((4, 4), (4, 3))
    net((6, 6), (6, 3))
    together = (((0, 0), (0, 1), (1, 0)),)
    assert net.calls == [(), together]
    assert net((9, 9), (9, 3)).is_sized
    # One differs: they are no group any more.
    assert not net((9, 5), (9, 3)).is_sized
    apart = (((0, 0), (1, 0)), ((0, 1),))
    assert net.calls[2:] == [apart]
    assert net((2, 7), (2, 3)).is_sized
    assert not net((2, 7), (2, 4)).is_sized
    assert net.calls[3:] == [(*apart, ((1, 1),))]
    assert net((3, 5), (3, 9)).is_sized
    assert not net((3, 5), (4, 9)).is_sized
    assert len(net.calls[-1]) == 4


def test_a_wrong_text_is_not_believed():
    net = Net()
    net.odd = 4
    for size in range(4, 12):  # 7, 8, ... would be confirmed by 6, if 4 were not known
        assert not net((size, 8)).is_sized
    assert net.family.texts == []
    assert net.family.reasons == ["programs of two sizes differ: step 3"]
    assert net.calls.count(BATCH) == net.family.failures == 3


@pytest.mark.parametrize("how", ["reason", "exception"])
def test_what_fails_is_given_up(how):
    net = Net()
    net.reasons = ["mean of N as a number at net.py, line 3"] if how == "reason" else []
    net.raises = how == "exception"
    for size in range(2, 12):
        assert not net((size, 8)).is_sized
    assert net.calls.count(BATCH) == 3
    assert net.calls.count(()) == 10
    assert net.family.is_static
    assert net.family.reasons == [net.reasons[0] if net.reasons else "TypeError: no int"]


def test_memory_errors_are_errors():
    net = Net()
    net((2, 8))

    def compile(free):
        assert free
        raise MemoryError

    with pytest.raises(MemoryError):
        net.families.compile("key", ((3, 8),), compile)
    assert net.family.failures == 0


def test_branches_have_texts_of_their_own():
    net = Net()
    net.least = 100
    net((4, 8))
    assert not net((120, 8)).is_sized  # 4 takes another branch: nothing confirms it
    assert net.family.texts == []
    assert "branches" in net.family.reasons[0]
    assert not net((130, 8)).is_sized
    assert net((140, 8)).is_sized
    net.least = 2
    assert not net((5, 8)).is_sized  # text.at refuses it
    assert net((6, 8)).is_sized
    assert len(net.family.texts) == 2


def test_what_no_other_size_confirms_is_given_up():
    net = Net()
    for size in range(2, 30):
        net.least = size  # each takes a branch of its own
        net((size, 8))
    assert net.calls.count(BATCH) == 8


def test_values_of_python():
    net = Net()
    for size in (4, 6, 7):
        net((size, 8))
    net.value = "other"
    assert not net((7, 8)).is_sized
    assert not net((6, 8)).is_sized  # confirmed by 7
    assert net((4, 8)).is_sized
    calls = len(net.calls)
    for value in ("rule", "other", "rule"):
        net.value = value
        for size in (4, 7, 9):
            net((size, 8))
    assert len(net.calls) == calls


def test_a_graph_of_the_size_itself():
    net = Net()
    for size in (4, 6):
        net((size, 8))
    assert net((7, 8)).is_sized
    exact = net((7, 8), exact=True)
    assert not exact.is_sized
    assert net((7, 8), exact=True) is exact
    assert net((7, 8)) is exact
    assert not net((4, 8), exact=True).is_sized
    assert net.calls == [(), BATCH, ()]


def test_bytes():
    net = Net()
    net((4, 8))
    assert programs.held() == (2, 1000 + 1000)
    net((6, 8))
    net((7, 8))
    # Three sizes and the family, which has a text and its graph.
    assert programs.held() == (4, 1000 + 1000 + 10 + (1000 + 100 + 1000))


def test_eviction_forgets_sizes_before_the_family():
    net = Net()
    for size in range(4, 50):
        net((size, 8))
    assert net.calls == [(), BATCH]
    programs.set_limit(programs.held()[1] - 2200)  # 4, 6 and some that were made
    for size in range(7, 50):
        assert net((size, 8)).is_sized
    assert net.calls == [(), BATCH]
    assert net.family.texts


@pytest.mark.parametrize("limit", [0, 900, 2500])
def test_tiny_budgets(limit):
    programs.set_limit(limit)
    net = Net()
    for size in (4, 6, 7, 8, 9):
        found = net.families.find("key", ((size, 8),), net.count)
        if found is None:
            compiled = Compiled(Program("rule", ((size, 8),)), (), Watched(net))
            found = net.families.add("key", ((size, 8),), Made(compiled), net.count)
        assert found.compiled.program.sizes == ((size, 8),)
        assert programs.held()[1] <= limit
