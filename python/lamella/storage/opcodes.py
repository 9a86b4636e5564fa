# SPDX-License-Identifier: Apache-2.0
"""The instructions of the pickle machine that checkpoints need; nothing is imported or run.

Builds dicts, lists, tuples, text, bytes and numbers, and hands what could have a meaning outside (a
global's name, a call, attributes, a persistent id) to a `Meaning`, which knows a fixed list and
answers with an `Inert` for all else. Every other instruction is refused. Depth, memory and number
of steps are bounded. The instructions are documented in CPython's Lib/pickletools.py.
"""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from lamella.storage.source import CHUNK, Budget, Source

__all__ = ["Inert", "Meaning", "Pickles", "evaluate"]

# A state dict takes some 45 steps a tensor; in Python these take about a second.
MAX_STEPS = 3_000_000
MAX_STACK = 1 << 18
MAX_MARKS = 64
MAX_PICKLE = 64 << 20

# What CPython takes for one, at most: an item includes its share of the table around it.
_CONTAINER, _NUMBER, _ITEM = 120, 32, 110

# The first byte of a sign beyond Latin-1, for which CPython takes more than one byte a sign.
_WIDE = re.compile(rb"[\xc4-\xff]")


@dataclass(frozen=True, slots=True)
class Inert:
    """A class, function or object that is not known: its name is all that is kept of it."""

    name: str


class _Key:
    """A key that is neither text nor a small integer.

    Python's own hashes of large integers, and of tuples of them, can be chosen to collide.
    """

    __slots__ = ()


class Meaning(Protocol):
    """What the outside names in a pickle stand for."""

    def named(self, name: str) -> object:
        """The value of a global, `module.name`."""

    def call(self, function: object, arguments: tuple[Any, ...]) -> object:
        """The result of a call of a global."""

    def attributes(self, value: object, state: object) -> None:
        """Gives a value the attributes, or the contents, that the pickle keeps beside it."""

    def persistent(self, arguments: object) -> object:
        """The value of a persistent id."""


def evaluate(data: bytes | bytearray, meaning: Meaning, budget: Budget) -> object:
    """The value that a pickle describes; FormatError for instructions that are not allowed."""
    machine = _Machine(data, 0, meaning, budget)
    value = machine.run()
    if machine.at != len(data):
        machine.fail("the pickle does not end with one value")
    return value


class Pickles:
    """Pickles one behind the other from the beginning of a file, read as far as they go."""

    __slots__ = ("_budget", "_data", "_source", "_steps", "at")

    def __init__(self, source: Source, budget: Budget) -> None:
        self._source = source
        self._budget = budget
        self._data = bytearray()
        self._steps = MAX_STEPS
        self.at = 0

    def next(self, meaning: Meaning) -> object:
        """The value of the next one; `at` is then behind it."""
        machine = _Machine(self._data, self.at, meaning, self._budget, self._grow)
        machine.steps = self._steps
        value = machine.run()
        self._steps, self.at = machine.steps, machine.at
        return value

    def _grow(self, size: int) -> bool:
        """Reads on until `size` bytes are there; False where the file or the bound ends."""
        have = len(self._data)
        whole = min(self._source.size, MAX_PICKLE)
        if size > whole:
            return False
        more = min(max(size, 2 * have, CHUNK), whole) - have
        self._budget.spend(2 * more, "pickle")  # for a moment it is there twice
        self._data += self._source.take(have, more)
        return True


class _Machine:
    __slots__ = ("at", "budget", "data", "grow", "marks", "meaning", "memo", "stack", "steps")

    def __init__(
        self,
        data: bytes | bytearray,
        at: int,
        meaning: Meaning,
        budget: Budget,
        grow: Callable[[int], bool] = lambda size: False,
    ) -> None:
        self.data = data
        self.at = at
        self.meaning = meaning
        self.budget = budget
        self.grow = grow
        self.steps = MAX_STEPS
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def fail(self, rule: str) -> NoReturn:
        self.budget.source.fail(f"not a state dict: {rule}", {"byte of the pickle": self.at})

    def run(self) -> object:
        data, stop = self.data, ord(".")
        for step in range(self.steps):
            if self.at >= len(data) and not self.grow(self.at + 1):
                self.fail("the pickle ends early")
            code = data[self.at]
            self.at += 1
            if code == stop:
                if len(self.stack) != 1 or self.marks:
                    self.fail("the pickle does not end with one value")
                self.steps -= step
                return self.stack[0]
            handler = _HANDLERS.get(code)
            if handler is None:
                self.fail(f"the pickle instruction {code:#04x} is not among those allowed")
            handler(self)
        self.fail(f"the pickle has more than {MAX_STEPS} steps")

    # What the instructions are made of.

    def reach(self, count: int) -> int:
        """Moves on by `count` bytes that are there; where they begin."""
        start, self.at = self.at, self.at + count
        if self.at > len(self.data) and not self.grow(self.at):
            self.fail("the pickle ends early")
        return start

    def take(self, count: int) -> bytes | bytearray:
        start = self.reach(count)
        return self.data[start : self.at]

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "little")

    def push(self, value: object, cost: int = 0) -> None:
        self.budget.spend(cost, "value")
        if len(self.stack) >= MAX_STACK:
            self.fail("the pickle's stack is too high")
        self.stack.append(value)

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            self.fail("the pickle's stack is empty")
        return self.stack.pop()

    def top(self, *kinds: type) -> Any:
        value = self.pop()
        if not isinstance(value, kinds):
            self.fail(f"a value is no {kinds[0].__name__}")
        self.stack.append(value)
        return value

    def items(self) -> list[Any]:
        """Everything above the last mark."""
        if not self.marks:
            self.fail("a mark is missing")
        start = self.marks.pop()
        found = self.stack[start:]
        del self.stack[start:]
        return found

    def store(self, place: int) -> None:
        self.budget.spend(_ITEM, "value")
        value = self.pop()
        self.stack.append(value)
        self.memo[place] = value

    def recall(self, place: int) -> None:
        if place not in self.memo:
            self.fail("the pickle names what it has not stored")
        self.push(self.memo[place])

    def text(self, size: int) -> str:
        start = self.reach(size)
        with memoryview(self.data)[start : self.at] as raw:
            if size > 1000:
                # Four bytes a sign, where one sign needs them, else two while it is decoded.
                self.budget.spend((4 if _WIDE.search(raw) else 2) * size, "text")
            try:
                found = str(raw, "utf-8", "surrogatepass")
            except UnicodeDecodeError:
                self.fail("a text is not Unicode")
        # Exact for texts too short to do harm.
        self.budget.spend(sys.getsizeof(found) if size <= 1000 else 0, "text")
        return found

    def binary(self, size: int) -> bytes:
        start = self.reach(size)
        self.budget.spend(2 * size + _NUMBER, "bytes")
        return bytes(self.data[start : self.at])

    def either(self, size: int) -> str | bytes:
        """What Python 2 calls a text."""
        found = self.binary(size)
        try:
            return found.decode("ascii")
        except UnicodeDecodeError:
            return found

    def line(self) -> str:
        end = self.data.find(b"\n", self.at, self.at + 256)
        if end < 0 and self.grow(self.at + 256):
            end = self.data.find(b"\n", self.at, self.at + 256)
        if end < 0:
            self.fail("the name of a global is too long")
        start, self.at = self.at, end + 1
        return self.data[start:end].decode("latin-1")

    def group(self, values: list[Any]) -> None:
        self.push(tuple(values), _CONTAINER + 8 * len(values))

    def fixed(self, count: int) -> None:
        self.group([self.pop() for _ in range(count)][::-1])

    def extend(self, values: list[Any]) -> None:
        target = self.top(list, Inert)
        if isinstance(target, list):
            self.budget.spend(16 * len(values), "value")
            target.extend(values)

    def update(self, values: list[Any]) -> None:
        if len(values) % 2:
            self.fail("a key has no value")
        target = self.top(dict, Inert)
        if isinstance(target, Inert):
            return
        self.budget.spend(_ITEM * len(values), "value")
        for key, value in zip(values[::2], values[1::2], strict=True):
            plain = type(key) is str or (type(key) is int and 0 <= key < 2**31)
            target[key if plain else _Key()] = value

    def mark(self) -> None:
        if len(self.marks) == MAX_MARKS:
            self.fail(f"nested deeper than {MAX_MARKS}")
        self.marks.append(len(self.stack))

    def named(self) -> None:
        name, module = self.pop(), self.pop()
        if type(name) is not str or type(module) is not str:
            self.fail("the name of a global is no text")
        if len(name) + len(module) > 512:
            self.fail("the name of a global is too long")
        self.push(self.meaning.named(f"{module}.{name}"), 6 * _CONTAINER)

    def protocol(self) -> None:
        if (version := self.number(1)) not in (2, 3, 4, 5):
            self.fail(f"pickle protocol {version}")

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        if type(arguments) is not tuple:
            self.fail("arguments are no tuple")
        self.push(self.meaning.call(function, arguments), 3 * _CONTAINER)

    def instance(self) -> None:
        """A class and, above the mark, its arguments."""
        values = self.items()
        if not values:
            self.fail("a class is missing")
        self.push(self.meaning.call(values[0], tuple(values[1:])), 3 * _CONTAINER)

    def build(self) -> None:
        state = self.pop()
        value = self.pop()
        self.meaning.attributes(value, state)
        self.stack.append(value)

    def repeat(self) -> None:
        value = self.pop()
        self.stack.append(value)
        self.push(value)


def _integer(machine: _Machine, size: int) -> None:
    data = machine.binary(size)
    machine.push(int.from_bytes(data, "little", signed=True), _NUMBER + len(data))


def _keywords(machine: _Machine) -> None:
    """An object made with arguments by name, which only unknown classes are."""
    machine.pop()
    machine.reduce()


def _global(machine: _Machine) -> None:
    module, name = machine.line(), machine.line()
    machine.push(machine.meaning.named(f"{module}.{name}"), 6 * _CONTAINER)


_TABLE: dict[bytes, Callable[[_Machine], Any]] = {
    b"\x80": lambda m: m.protocol(),
    b"\x95": lambda m: m.take(8),  # a frame's size: a hint for buffering
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"J": lambda m: m.push(struct.unpack("<i", m.take(4))[0], _NUMBER),
    b"K": lambda m: m.push(m.number(1)),
    b"M": lambda m: m.push(m.number(2), _NUMBER),
    b"\x8a": lambda m: _integer(m, m.number(1)),
    b"\x8b": lambda m: _integer(m, m.number(4)),
    b"G": lambda m: m.push(struct.unpack(">d", m.take(8))[0], _NUMBER),
    b"X": lambda m: m.push(m.text(m.number(4))),
    b"\x8c": lambda m: m.push(m.text(m.number(1))),
    b"\x8d": lambda m: m.push(m.text(m.number(8))),
    b"U": lambda m: m.push(m.either(m.number(1))),
    b"T": lambda m: m.push(m.either(m.number(4))),
    b"C": lambda m: m.push(m.binary(m.number(1))),
    b"B": lambda m: m.push(m.binary(m.number(4))),
    b"\x8e": lambda m: m.push(m.binary(m.number(8))),
    b"\x96": lambda m: m.push(m.binary(m.number(8))),  # a bytearray
    b"\x8f": lambda m: m.push(Inert("set"), _CONTAINER),
    b"\x90": lambda m: m.extend(m.items()),
    b"\x91": lambda m: m.push((m.items(), Inert("frozenset"))[1], _CONTAINER),
    b"}": lambda m: m.push({}, _CONTAINER),
    b"]": lambda m: m.push([], _CONTAINER),
    b")": lambda m: m.push(()),
    b"(": lambda m: m.mark(),
    b"t": lambda m: m.group(m.items()),
    b"\x85": lambda m: m.fixed(1),
    b"\x86": lambda m: m.fixed(2),
    b"\x87": lambda m: m.fixed(3),
    b"a": lambda m: m.extend([m.pop()]),
    b"e": lambda m: m.extend(m.items()),
    b"s": lambda m: m.update([m.pop(), m.pop()][::-1]),
    b"u": lambda m: m.update(m.items()),
    b"q": lambda m: m.store(m.number(1)),
    b"r": lambda m: m.store(m.number(4)),
    b"\x94": lambda m: m.store(len(m.memo)),
    b"h": lambda m: m.recall(m.number(1)),
    b"j": lambda m: m.recall(m.number(4)),
    b"c": _global,
    b"\x93": lambda m: m.named(),
    b"Q": lambda m: m.push(m.meaning.persistent(m.pop()), 2 * _CONTAINER),
    b"R": lambda m: m.reduce(),
    b"\x81": lambda m: m.reduce(),
    b"\x92": _keywords,
    b"o": lambda m: m.instance(),
    b"b": lambda m: m.build(),
    b"0": lambda m: m.pop(),
    b"1": lambda m: m.items(),
    b"2": lambda m: m.repeat(),
}
_HANDLERS: dict[int, Callable[[_Machine], Any]] = {code[0]: f for code, f in _TABLE.items()}
