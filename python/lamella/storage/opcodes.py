# SPDX-License-Identifier: Apache-2.0
"""The few instructions of the pickle machine that a state dict needs; nothing is imported or run.

Builds dicts, lists, tuples, text and numbers, and hands the three things that could have a meaning
outside (a global's name, a call, a persistent id) to a `Meaning`, which knows a fixed list of them.
Every other instruction is refused. Depth, memory and number of steps are bounded. The instructions
are documented in CPython's Lib/pickletools.py.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from typing import Any, NoReturn, Protocol

from lamella.storage.source import Budget

__all__ = ["Meaning", "evaluate"]

# A state dict takes some 45 steps a tensor; in Python these take about a second.
MAX_STEPS = 3_000_000
MAX_STACK = 1 << 18
MAX_MARKS = 64

# What CPython takes for one, at most: an item includes its share of the table around it.
_CONTAINER, _NUMBER, _ITEM = 120, 32, 110


class Meaning(Protocol):
    """What the outside names in a pickle stand for."""

    def named(self, name: str) -> object:
        """The value of a global, `module.name`."""

    def call(self, function: object, arguments: tuple[Any, ...]) -> object:
        """The result of a call of a global."""

    def persistent(self, arguments: object) -> object:
        """The value of a persistent id."""


def evaluate(data: bytes, meaning: Meaning, budget: Budget) -> object:
    """The value that a pickle describes; FormatError for all that is not a state dict's."""
    return _Machine(data, meaning, budget).run()


class _Machine:
    __slots__ = ("at", "budget", "data", "marks", "meaning", "memo", "stack")

    def __init__(self, data: bytes, meaning: Meaning, budget: Budget) -> None:
        self.data = data
        self.meaning = meaning
        self.budget = budget
        self.at = 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def fail(self, rule: str) -> NoReturn:
        self.budget.source.fail(f"not a state dict: {rule}", {"byte of the pickle": self.at})

    def run(self) -> object:
        data, stop = self.data, ord(".")
        for _ in range(MAX_STEPS):
            if self.at >= len(data):
                self.fail("the pickle ends early")
            code = data[self.at]
            self.at += 1
            if code == stop:
                if len(self.stack) != 1 or self.marks or self.at != len(data):
                    self.fail("the pickle does not end with one value")
                return self.stack[0]
            handler = _HANDLERS.get(code)
            if handler is None:
                self.fail(f"the pickle instruction {code:#04x} is not among those allowed")
            handler(self)
        self.fail(f"the pickle has more than {MAX_STEPS} steps")

    # What the instructions are made of.

    def take(self, count: int) -> bytes:
        start, self.at = self.at, self.at + count
        if self.at > len(self.data):
            self.fail("the pickle ends early")
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

    def top(self, kind: type) -> Any:
        value = self.pop()
        if not isinstance(value, kind):
            self.fail(f"a value is no {kind.__name__}")
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
        # Four bytes a sign, where one sign needs them; exact for texts too short to do harm.
        if size > 1000:
            self.budget.spend(4 * min(size, len(self.data)), "text")
        try:
            found = self.take(size).decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            self.fail("a text is not Unicode")
        self.budget.spend(sys.getsizeof(found) if size <= 1000 else 0, "text")
        return found

    def line(self) -> str:
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
        self.budget.spend(16 * len(values), "value")
        self.top(list).extend(values)

    def update(self, values: list[Any]) -> None:
        if len(values) % 2:
            self.fail("a key has no value")
        self.budget.spend(_ITEM * len(values), "value")
        found = self.top(dict)
        for key, value in zip(values[::2], values[1::2], strict=True):
            # Larger integers could be chosen to collide in the table; texts cannot.
            if type(key) is not str and not (type(key) is int and 0 <= key < 2**31):
                self.fail("a key is neither text nor an integer from 0 to 2^31 - 1")
            found[key] = value

    def mark(self) -> None:
        if len(self.marks) == MAX_MARKS:
            self.fail(f"nested deeper than {MAX_MARKS}")
        self.marks.append(len(self.stack))

    def named(self) -> None:
        name, module = self.pop(), self.pop()
        if type(name) is not str or type(module) is not str:
            self.fail("the name of a global is no text")
        self.push(self.meaning.named(f"{module}.{name}"), _CONTAINER)

    def protocol(self) -> None:
        if (version := self.number(1)) not in (2, 3, 4, 5):
            self.fail(f"pickle protocol {version}")

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        if type(arguments) is not tuple:
            self.fail("arguments are no tuple")
        self.push(self.meaning.call(function, arguments), 3 * _CONTAINER)

    def build(self) -> None:
        """Drops an OrderedDict's attributes (a state dict's `_metadata`); nothing else has any."""
        state = self.pop()
        if type(self.top(dict)) is dict or type(state) is not dict:
            self.fail("attributes for what has none")


def _long(machine: _Machine) -> None:
    data = machine.take(machine.number(1))
    machine.push(int.from_bytes(data, "little", signed=True), _NUMBER + len(data))


def _global(machine: _Machine) -> None:
    module, name = machine.line(), machine.line()
    machine.push(machine.meaning.named(f"{module}.{name}"), _CONTAINER)


_TABLE: dict[bytes, Callable[[_Machine], Any]] = {
    b"\x80": lambda m: m.protocol(),
    b"\x95": lambda m: m.take(8),  # a frame's size: a hint for buffering
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"J": lambda m: m.push(struct.unpack("<i", m.take(4))[0], _NUMBER),
    b"K": lambda m: m.push(m.number(1)),
    b"M": lambda m: m.push(m.number(2), _NUMBER),
    b"\x8a": _long,
    b"G": lambda m: m.push(struct.unpack(">d", m.take(8))[0], _NUMBER),
    b"X": lambda m: m.push(m.text(m.number(4))),
    b"\x8c": lambda m: m.push(m.text(m.number(1))),
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
    b"b": lambda m: m.build(),
}
_HANDLERS: dict[int, Callable[[_Machine], Any]] = {code[0]: f for code, f in _TABLE.items()}
