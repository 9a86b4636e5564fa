# SPDX-License-Identifier: Apache-2.0
"""Programs of any size: what calls of one structure, of the same dtypes and ranks, have in common.

The first size is compiled for itself. When another one comes, the axes that have varied are free in
the trace, and the program that it gives has a text, which the core can make for other sizes. The
text is believed once it has made a program that was compiled at another size before, number by
number. What has no such text is compiled for each size, and the family knows why.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, TypeAlias

from lamella import _core
from lamella.ir.extent import LEAST
from lamella.runtime.programs import Entry, Programs
from lamella.runtime.session import Compiled, Free
from lamella.runtime.variants import Recompilations, Variants

__all__ = ["Families", "Family", "Found", "Made", "Shapes", "Sizes", "Text"]

Shapes: TypeAlias = tuple[tuple[int, ...], ...]

# Traces with free axes that gave no text, because something in them holds for its example only, and
# because no other size compiled so far takes the same branches. Then a family stays static.
_FAILURES, _LONELY = 3, 8
# Texts of a family, which differ in branches on sizes, in what is free and in Python's values.
_TEXTS = 8
# Sizes that a text may be confirmed by, and by how many of them it is.
_SIZES, _JUDGES = 16, 4
_FAMILY_BYTES = 1000


class Found(NamedTuple):
    """A program for a call, and its entry."""

    compiled: Compiled
    entry: Entry[Any]


class Sizes(NamedTuple):
    """What is known of a call's sizes: which axes have varied, in groups that were always equal.

    reason: why each size is compiled by itself, nothing where a text makes them.
    """

    shapes: Shapes
    groups: Free
    reason: str


class Text:
    """A text of a family. compiled: the program of the trace it was made of; text: the core's."""

    __slots__ = ("_shapes", "compiled", "free", "text")

    def __init__(self, compiled: Compiled, shapes: Shapes, free: Free) -> None:
        assert compiled.extents is not None
        self.compiled = compiled
        self.free = free
        self._shapes = shapes
        self.text = compiled.program.text(symbols=free, conditions=compiled.extents.conditions)

    @property
    def nbytes(self) -> int:
        """What it takes, with the graph that its programs share."""
        return self.text.nbytes + self.compiled.nbytes

    def fits(self, shapes: Shapes) -> bool:
        """Whether it is a text of these sizes."""
        extents, found = self.compiled.extents, self.extents(shapes)
        return extents is not None and found is not None and extents.hold(found)

    def extents(self, shapes: Shapes) -> list[int] | None:
        """The sizes of what is free; None where the rest is another, or something is too small."""
        taken = [shapes[group[0][0]][group[0][1]] for group in self.free]
        free = {
            place: size for group, size in zip(self.free, taken, strict=True) for place in group
        }
        for number, (shape, known) in enumerate(zip(shapes, self._shapes, strict=True)):
            for axis, (size, fixed) in enumerate(zip(shape, known, strict=True)):
                if size != free.get((number, axis), fixed):
                    return None
        return taken if min(taken) >= LEAST else None

    def at(self, shapes: Shapes) -> Compiled | None:
        """The program for these sizes; None where they are none of this text."""
        extents = self.extents(shapes)
        if extents is None:
            return None
        try:
            return self.compiled.sized(self.text.at(extents))
        except ValueError:
            return None


class Family:
    """What is known of one family; its programs lie beside it.

    keep: objects whose identity the key contains, and bytes that live by them alone; sizes: those
    compiled lately; texts: confirmed ones, the latest last; reasons: why there is none for some
    size, the latest last.
    """

    __slots__ = ("_classes", "_first", "_kept_bytes", "_varied", "failures", "keep", "lonely",
                 "reasons", "sizes", "texts")  # fmt: skip

    def __init__(self, keep: Any, kept_bytes: int) -> None:
        self.keep = keep
        self._kept_bytes = kept_bytes
        self.sizes: OrderedDict[Shapes, None] = OrderedDict()
        self.texts: list[Text] = []
        self.reasons: list[str] = []
        self.failures = self.lonely = 0
        self._first: list[int] = []
        # By axis: equal where the axes were equal at all sizes.
        self._classes: list[int] = []
        self._varied: set[int] = set()

    @property
    def nbytes(self) -> int:
        """What it takes, texts included."""
        return _FAMILY_BYTES + self._kept_bytes + sum(text.nbytes for text in self.texts)

    @property
    def is_static(self) -> bool:
        """Whether nothing is traced with free axes any more."""
        return self.failures >= _FAILURES or self.lonely >= _LONELY or len(self.texts) >= _TEXTS

    def see(self, shapes: Shapes) -> None:
        """Notes which axes vary, and which of them have always been equal."""
        sizes = [size for shape in shapes for size in shape]
        if not self._classes:
            self._first, self._classes = sizes, [0] * len(sizes)
        numbers: dict[tuple[int, int], int] = {}
        pairs = zip(self._classes, sizes, strict=True)
        self._classes = [numbers.setdefault(pair, len(numbers)) for pair in pairs]
        differ = enumerate(zip(sizes, self._first, strict=True))
        self._varied |= {position for position, (size, first) in differ if size != first}

    def groups(self, shapes: Shapes) -> Free:
        """The axes that have varied, in groups of one size."""
        axes = [(number, axis) for number, one in enumerate(shapes) for axis in range(len(one))]
        found: dict[int, list[tuple[int, int]]] = {}
        for position in sorted(self._varied):
            found.setdefault(self._classes[position], []).append(axes[position])
        return tuple(map(tuple, found.values()))

    def free(self, shapes: Shapes) -> Free:
        """What shall be free when these sizes are compiled; nothing where none could confirm it."""
        self.see(shapes)
        groups = self.groups(shapes)
        if self.is_static or not _is_free(shapes, groups):
            return ()
        known = (other for other in self.sizes if other != shapes)
        return groups if any(_is_free(other, groups) for other in known) else ()

    def fail(self, reason: str) -> None:
        """A trace with free axes gave no text."""
        self.failures += 1
        self._note(reason)

    def _note(self, reason: str) -> None:
        self.reasons = [*(one for one in self.reasons if one != reason), reason][-_FAILURES:]

    def text(
        self, compiled: Compiled, shapes: Shapes, known: Callable[[Shapes], Compiled | None]
    ) -> Text | None:
        """The text of a trace with free axes, if other sizes confirm it.

        known: the program of another size, None where there is none that holds.
        """
        extents = compiled.extents
        assert extents is not None
        if extents.reasons:
            self.fail(extents.reasons[0])
            return None
        try:
            text = Text(compiled, shapes, compiled.free)
        except ValueError as error:
            self.fail(str(error))
            return None
        # First those that differ in most: they confirm most.
        others = [other for other in reversed(self.sizes) if other != shapes]
        judged = 0
        for other in sorted(others, key=lambda other: _agreements(other, shapes)):
            judge = known(other)
            made = text.at(other) if judge is not None and judged < _JUDGES else None
            if judge is None or made is None:
                continue
            difference = _core.difference(made.program, judge.program_like(compiled))
            if difference is not None:
                self.fail(f"programs of two sizes differ: {difference}")
                return None
            judged += 1
        if not judged:
            self.lonely += 1
            self._note("no other size so far takes the same branches")
        return text if judged else None


class Made(NamedTuple):
    """A program that was compiled, not yet kept, and its text where it has one."""

    compiled: Compiled
    text: Text | None = None


class Families:
    """The programs of one owner: `Programs`, by family and size."""

    __slots__ = ("programs",)

    def __init__(self, name: str, owner: Callable[[], Any] | None = None) -> None:
        self.programs = Programs[Any](name, owner)

    def __len__(self) -> int:
        return len(self.programs)

    def clear(self) -> None:
        """Drops all of them."""
        self.programs.clear()

    def family(self, key: Hashable) -> Family | None:
        """What is known of a family."""
        entry = self.programs.get(key)
        return None if entry is None else entry.value

    def find(
        self, key: Hashable, shapes: Shapes, count: Recompilations, exact: bool = False
    ) -> Found | None:
        """The program of a size, made by a text if need be; None where it has to be compiled.

        exact: one with a graph of this size.
        """
        family = self.family(key)
        entry = self.programs.get((key, shapes))
        if entry is not None:
            compiled = entry.value.find(exact)
            if compiled is not None:
                return Found(compiled, entry)
        if family is None or exact:
            return None
        for text in reversed(family.texts):
            compiled = text.at(shapes) if text.compiled.watched.holds() else None
            if compiled is not None:
                return Found(compiled, self._put(key, shapes, compiled, count))
        return None

    def text(self, key: Hashable, shapes: Shapes) -> Text | None:
        """A text that makes this size, for what Python's values are now."""
        family = self.family(key)
        for text in () if family is None else reversed(family.texts):
            if text.compiled.watched.holds() and text.fits(shapes):
                return text
        return None

    def sizes(self, key: Hashable, shapes: Shapes) -> Sizes | None:
        """What is known of the sizes of a call."""
        family = self.family(key)
        if family is None:
            return None
        groups = family.groups(shapes)
        if self.text(key, shapes) is not None:
            return Sizes(shapes, groups, "")
        reason = family.reasons[-1] if family.reasons else "this is the second one"
        if not _is_free(shapes, groups):
            reason = "sizes of 0 and 1 broadcast"
        return Sizes(shapes, groups, reason)

    def earlier(self, key: Hashable, shapes: Shapes) -> Sequence[Compiled]:
        """Programs of the same size, which do not hold."""
        entry = self.programs.get((key, shapes))
        return () if entry is None else tuple(entry.value.programs)

    def compile(self, key: Hashable, shapes: Shapes, compile: Callable[[Free], Compiled]) -> Made:
        """The program of a size that has none, not yet kept. compile: takes what shall be free.

        A trace with free axes is believed with its text only: code that asks for the type of a size
        sees no int there.
        """
        family = self.family(key)
        free = () if family is None else family.free(shapes)
        if family is None or not free:
            return Made(compile(()))
        failure = ""
        try:
            compiled = compile(free)
            text = family.text(compiled, shapes, lambda other: self._known(key, other))
            if text is not None:
                return Made(compiled, text)
        except MemoryError:
            raise
        except Exception as error:
            # Without free axes it is right, or raises what the user shall be told.
            failure = f"{type(error).__name__}: {error}"
        made = Made(compile(()))
        if failure:
            family.fail(failure)
        return made

    def add(
        self,
        key: Hashable,
        shapes: Shapes,
        made: Made,
        count: Recompilations,
        keep: Any = None,
        kept_bytes: int = 0,
    ) -> Found:
        """Keeps a program that was compiled. keep, kept_bytes: see Family."""
        family = self.family(key) or Family(keep, kept_bytes)
        family.see(shapes)
        entry = self._put(key, shapes, made.compiled, count)
        if made.text is not None:
            family.texts = [*family.texts, made.text]
            made.compiled.text = made.text.text
        family.sizes[shapes] = None
        family.sizes.move_to_end(shapes)
        while len(family.sizes) > _SIZES:
            family.sizes.popitem(last=False)
        self.programs.put(key, family, family.nbytes, again=False)
        return Found(made.compiled, entry)

    def _put(
        self, key: Hashable, shapes: Shapes, compiled: Compiled, count: Recompilations
    ) -> Entry[Any]:
        entry = self.programs.get((key, shapes))
        variants = Variants() if entry is None else entry.value
        variants.add(compiled, count)
        nbytes, again = variants.nbytes, not compiled.is_sized
        return self.programs.put((key, shapes), variants, nbytes, again)

    def _known(self, key: Hashable, shapes: Shapes) -> Compiled | None:
        entry = self.programs.get((key, shapes))
        return None if entry is None else entry.value.find()


def _is_free(shapes: Shapes, groups: Free) -> bool:
    """Whether these axes are large enough to be free."""
    return all(shapes[number][axis] >= LEAST for group in groups for number, axis in group)


def _agreements(a: Shapes, b: Shapes) -> int:
    """How many axes are of the same size."""
    pairs = [pair for one, two in zip(a, b, strict=True) for pair in zip(one, two, strict=True)]
    return sum(one == two for one, two in pairs)
