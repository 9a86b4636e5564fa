# SPDX-License-Identifier: Apache-2.0
"""What a program has taken as known, said in words: `lamella.explain(net, x)`.

An Explanation has sections of facts: the values of Python that are constants of the program, the
arrays that it reads at every run, the sizes of inputs, and what is computed of parameters alone. It
is made of what the program's own watch compares, of what its family knows, and of its graph.
"""

from __future__ import annotations

import reprlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import numpy as np

from lamella import _core
from lamella.errors import message
from lamella.ir.graph import Folded
from lamella.nn.module import Module
from lamella.runtime.families import Sizes
from lamella.runtime.reads import MOST_ITEMS
from lamella.runtime.session import Compiled, Session
from lamella.runtime.taken import MOST_BYTES, Watched

__all__ = ["Explanation", "Fact", "Section", "describe", "explain", "of_module"]

# Items of one container that are listed; the rest is counted.
_LISTED = 8
# Values in short, but texts and paths whole: a name cut in its middle names nothing.
_short = reprlib.Repr()
_short.maxstring = _short.maxother = 300


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that a program knows.

    name, as the code has it: `self.items[0]`, `global SETTINGS['scale']`, `closure beta`; value, in
    short; how, whether and when a change of it is seen.
    """

    name: str
    value: str
    how: str

    def __str__(self) -> str:
        return f"{self.name} = {self.value}  ({self.how})"


@dataclass(frozen=True, slots=True)
class Section:
    """Facts of one kind under a title."""

    title: str
    facts: tuple[Fact, ...]

    def __str__(self) -> str:
        return "\n".join([self.title, *(f"  {fact}" for fact in self.facts)])


@dataclass(frozen=True, slots=True)
class Explanation:
    """What `explain` answers: print it, or read its sections.

    name: of the module or function; constants: Python values that the program was made for;
    arrays: those that it reads at every run, and those whose elements its code has read itself;
    sizes: the inputs whose sizes have varied, and what becomes of a new size; folded: what is made
    of parameters alone, ahead of the runs; stages: the programs of a loaded model that is several,
    and what stands between them.
    """

    name: str
    constants: Section
    arrays: Section
    sizes: Section
    folded: Section
    stages: Section = Section("stages", ())

    @property
    def sections(self) -> tuple[Section, ...]:
        """All of them, in the order in which they are printed."""
        return self.constants, self.arrays, self.sizes, self.folded, self.stages

    def __str__(self) -> str:
        shown = [str(section) for section in self.sections if section.facts]
        return "\n".join([self.name, *(shown or ["nothing but its parameters and buffers"])])

    __repr__ = __str__


def explain(target: Callable[..., Any], *examples: Any, **named: Any) -> Explanation:
    """What the program of a call has taken of Python, and how a change of it is seen.

    forward runs once for a signature; numbers, texts and containers that it reads then are
    constants of the program, arrays are read where they lie. Of inputs that have come in several
    sizes it says which axes may be of any size, or why each size is compiled by itself. What
    depends on parameters and buffers alone (a mask on a weight, the scale of a norm) is computed
    once per version of these, for all sizes. docs/sharp_bits.md tells more.

    Parameters: target, a module, a function on tensors, a Session or a TrainStep; examples and
    named, the arguments of a call. Returns: an Explanation.
    Raises: what compiling the target for these arguments raises.

    >>> import numpy as np, lamella as lm
    >>> from lamella import nn
    >>> class Scaled(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.power, self.scales = 2, [0.5, 3.0]
    ...         self.offset = np.zeros(3, np.float32)
    ...     def forward(self, x):
    ...         return x**self.power * self.scales[0] + self.offset
    >>> lm.explain(Scaled(), np.ones((1, 3), np.float32))
    Scaled
    constants of the program
      self.power = 2  (seen when the attribute is assigned)
      self.scales[0] = 0.5  (compared at every call)
      self.scales[1] = 3.0  (compared at every call)
    arrays
      self.offset = float32 (3,)  (read at every run)
    """
    own = getattr(target, "__explain__", None)
    if own is not None:
        found: Explanation = own(*examples, **named)
        return found
    if isinstance(target, Module):
        return of_module(target, *examples, **named)
    if isinstance(target, Session):
        return describe(target.name, target.compiled)
    if not callable(target):
        raise TypeError(message("explain", "nothing to call", {"target": type(target)}))
    session = Session(target, examples, named)
    return describe(session.name, session.compiled)


def of_module(module: Module, *examples: Any, **named: Any) -> Explanation:
    """The explanation of a module that is one program."""
    cache, call = module._compiled, (module, *examples)
    sizes = cache.sizes(*call, **named)
    return describe(type(module).__name__, cache.find(*call, **named)[0], sizes)


def describe(name: str, compiled: Compiled, sizes: Sizes | None = None) -> Explanation:
    """The explanation of one program. sizes: what is known of others, None where it is of one."""
    watched = compiled.watched
    by_size = set() if watched.native is None else set(watched.native.by_size())
    facts: dict[str, Fact] = {}
    number = 0
    for position, place in enumerate(watched.places):
        how = "seen when the attribute is assigned"
        if place.watched:
            how = "compared at every call" + (", parts by their size" if number in by_size else "")
            number += 1
        elif position in watched.written:
            how = "changed by the traced code itself: not compared"
        if place.name:
            for item, value in _leaves(place.name, place.value()):
                facts.setdefault(item, Fact(item, value, how))
    constants = sorted(facts.values(), key=lambda fact: fact.name)
    return Explanation(
        name,
        Section("constants of the program", tuple(constants)),
        Section("arrays", tuple(_arrays(watched))),
        Section("sizes", () if sizes is None else tuple(_sizes(sizes))),
        Section("computed of parameters alone", tuple(map(_folded, compiled.graph.folded()))),
    )


def _folded(value: Folded) -> Fact:
    """Where it belongs, what it is, and how much memory; the ops in their order."""
    graph = value.graph
    paths = " + ".join(dict.fromkeys(node.path for node in graph.nodes if node.path))
    sources = ", ".join(leaf.source.name or "unnamed" for leaf in graph.parameters())
    ops = ", ".join(str(node.op) for node in graph.nodes)
    name = f"{ops} of {sources}"
    how = f"{value.type.nbytes} bytes, once per version"
    return Fact(f"{paths}: {name}" if paths else name, str(value.type), how)


def _arrays(watched: Watched) -> Iterator[Fact]:
    for fact in watched.arrays:
        how = f"read while tracing: more than {MOST_BYTES} bytes, not compared"
        if fact.read:
            how = "read at every run"
        elif fact.compared:
            how = "read while tracing: its elements are compared at every call"
        yield Fact(fact.name, f"{fact.array.dtype} {fact.array.shape}", how)


def _sizes(sizes: Sizes) -> Iterator[Fact]:
    """The inputs that have varied: `(n, 64)`, axes of one size by one letter."""
    letters = {place: "nmkhijpqrs"[number % 10] for number, group in enumerate(sizes.groups)
               for place in group}  # fmt: skip
    for number, shape in enumerate(sizes.shapes):
        places = [(number, axis) for axis in range(len(shape))]
        varied = dict.fromkeys(letters[place] for place in places if place in letters)
        if not varied:
            continue
        extents = [letters.get(place, str(n)) for place, n in zip(places, shape, strict=True)]
        value = f"({extents[0]},)" if len(extents) == 1 else f"({', '.join(extents)})"
        how = "a new size needs no compilation"
        if sizes.reason:
            how = f"each size is compiled by itself: {sizes.reason}"
        yield Fact(f"input {number}", value, f"any {', '.join(varied)}; {how}")


def _leaves(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """The values in a container one by one, by name; arrays and modules are told elsewhere."""
    items: list[tuple[Any, Any]]
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list | tuple | deque):
        items = list(enumerate(value))
    elif isinstance(value, FunctionType):
        yield name, f"function {value.__qualname__}"
        return
    else:
        if not isinstance(value, np.ndarray | _core.Callable) and not _is_own(value):
            yield name, _short.repr(value)
        return
    if len(items) > MOST_ITEMS:
        yield name, f"{type(value).__name__} of {len(items)} items"
        return
    for key, item in items[:_LISTED]:
        yield from _leaves(f"{name}[{key!r}]", item)
    if len(items) > _LISTED:
        yield f"{name}[...]", f"{len(items) - _LISTED} more"
    if not items:
        yield name, repr(value)


def _is_own(value: Any) -> bool:
    """Whether it is one of lamella's own objects, which are no constants of the user's."""
    return type(value).__module__.partition(".")[0] == "lamella"
