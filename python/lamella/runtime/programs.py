# SPDX-License-Identifier: Apache-2.0
"""The one cache: programs of functions, modules, models and optimisers under one budget of bytes.

An owner keeps a table, `Programs`. The budget knows the entries of all tables weakly, in the order
in which they were used last, and evicts the oldest where they hold more bytes than it has; a table
that dies takes its entries along. What the core answers alone does not come by here. So an entry
that was not seen while others filled most of the budget is asked to: its owner forgets what it has
remembered natively, and the next call is seen. The same is done for what is evicted, so that
nothing lives on uncounted. Programs that texts have made belong to the core, which drops them by
itself; they count to the same bytes.
"""

from __future__ import annotations

import os
import threading
import warnings
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from itertools import count
from typing import Any, Generic, TypeVar

from lamella import _core

__all__ = ["Entry", "Programs", "clear", "held", "limit", "set_limit"]

V = TypeVar("V")
T = TypeVar("T")

# Without packed weights and arenas, which programs share, one of a transformer of 12 blocks takes
# some 300 kB, and one of a small net 10: room for nearly a thousand sizes of the first, and less
# than the weights of one large net take.
_LIMIT = 256 << 20
# What has not been used while this share of the budget was filled is made to come by. The rest is
# the time it has for that.
_AGED = 7 / 8
# The share of the budget that programs made by texts may take whatever else there is.
_SIZED = 1 / 4
_MOST_SIZED = 1 << 62
# Evicted keys that would be known again, by their hashes.
_MOST_EVICTED = 65536


class Entry(Generic[V]):
    """A value of a table. nbytes: what counts; kept: whether it is still in the table.

    seen: how many entries there had been when it was used last.
    """

    __slots__ = ("__weakref__", "_table", "kept", "key", "nbytes", "number", "seen", "value")

    def __init__(self, table: Programs[V], key: Hashable, value: V, nbytes: int) -> None:
        self._table = weakref.ref(table)
        self.key = key
        self.value = value
        self.nbytes = nbytes
        self.number = self.seen = 0
        self.kept = True

    @property
    def mark(self) -> int:
        """What the key of this table is known by when it comes back."""
        table = self._table()
        return hash((0 if table is None else table.number, self.key))

    def leave(self) -> None:
        """Takes it out of its table."""
        self.kept = False
        table = self._table()
        if table is not None and table._entries.get(self.key) is self:
            del table._entries[self.key]

    def forget(self) -> None:
        """Lets the owner forget what it remembers natively."""
        table = self._table()
        owner = None if table is None or table.owner is None else table.owner()
        if owner is not None:
            owner._forget()


class _Reference(weakref.ref[Entry[Any]]):
    """An entry as the budget knows it."""

    __slots__ = ("nbytes", "number")
    number: int
    nbytes: int


class _Queue:
    """References in the order of their last use, and the sum of their bytes."""

    __slots__ = ("nbytes", "references")

    def __init__(self) -> None:
        self.references: OrderedDict[int, _Reference] = OrderedDict()
        self.nbytes = 0

    def add(self, reference: _Reference) -> None:
        self.references[reference.number] = reference
        self.nbytes += reference.nbytes

    def take(self, number: int) -> _Reference | None:
        reference = self.references.pop(number, None)
        if reference is not None:
            self.nbytes -= reference.nbytes
        return reference

    def oldest(self) -> _Reference:
        return next(iter(self.references.values()))


class _Budget:
    """Bytes that all entries may hold together.

    young: entries used lately; old: the others, whose owners have been made to forget. The lock is
    held for bookkeeping only, never while anything is freed or told.
    """

    def __init__(self, limit: int) -> None:
        self.lock = threading.RLock()
        self.limit = limit
        self._warned = False
        self._evicted: set[int] = set()
        self._young, self._old = _Queue(), _Queue()
        # How many entries there have been.
        self.count = 0
        # References to entries that have died, whenever that was: maybe within the lock.
        self._dead: deque[_Reference] = deque()

    def _locked(self, work: Callable[..., T], *arguments: Any) -> T:
        # One line: whoever interrupts between two, as a debugger may, finds the lock free.
        with self.lock: return work(*arguments)  # fmt: skip # noqa: E701

    def add(self, entry: Entry[Any]) -> None:
        _tell(*self._locked(self._add, entry))

    def _add(self, entry: Entry[Any]) -> tuple[list[Entry[Any]], list[Entry[Any]]]:
        self.count += 1
        entry.number = entry.seen = self.count
        reference = _Reference(entry, self._dead.append)
        reference.number, reference.nbytes = entry.number, entry.nbytes
        self._young.add(reference)
        return self._settle()

    def touch(self, entry: Entry[Any]) -> None:
        """It is used now."""
        _tell(*self._locked(self._touch, entry))

    def _touch(self, entry: Entry[Any]) -> tuple[list[Entry[Any]], list[Entry[Any]]]:
        number = entry.number
        entry.seen = self.count
        if number in self._young.references:
            self._young.references.move_to_end(number)
            return [], []
        reference = self._old.take(number)
        if reference is None:
            return [], []
        self._young.add(reference)
        return self._settle()

    def change(self, entry: Entry[Any], nbytes: int) -> None:
        """It holds so many bytes now, and is used."""
        _tell(*self._locked(self._change, entry, nbytes))

    def _change(self, entry: Entry[Any], nbytes: int) -> tuple[list[Entry[Any]], list[Entry[Any]]]:
        reference = self._young.take(entry.number) or self._old.take(entry.number)
        if reference is None:
            return [], []
        entry.nbytes = reference.nbytes = nbytes
        self._young.add(reference)
        return self._settle()

    def drop(self, entries: Iterable[Entry[Any]]) -> None:
        self._locked(self._drop, entries)

    def _drop(self, entries: Iterable[Entry[Any]]) -> None:
        for entry in entries:
            entry.kept = False
            self._young.take(entry.number)
            self._old.take(entry.number)

    def held(self) -> tuple[int, int]:
        """How many entries there are, and their bytes."""
        return self._locked(self._held)

    def _held(self) -> tuple[int, int]:
        self._bury()
        number = len(self._young.references) + len(self._old.references)
        sized, nbytes = _core.sized_programs()
        return number + sized, self._young.nbytes + self._old.nbytes + nbytes

    def resize(self, limit: int) -> None:
        _tell(*self._locked(self._resize, limit))

    def _resize(self, limit: int) -> tuple[list[Entry[Any]], list[Entry[Any]]]:
        self.limit = limit
        self._warned = False
        self._evicted.clear()
        # What was interrupted half-way is set right.
        for queue in (self._young, self._old):
            queue.nbytes = sum(one.nbytes for one in queue.references.values())
        return self._settle()

    def entries(self) -> list[Entry[Any]]:
        """All that live."""
        return self._locked(self._entries)

    def _entries(self) -> list[Entry[Any]]:
        every = [*self._young.references.values(), *self._old.references.values()]
        return [entry for entry in (one() for one in every) if entry is not None]

    def _bury(self) -> None:
        while self._dead:
            number = self._dead.popleft().number
            self._young.take(number)
            self._old.take(number)

    def _settle(self) -> tuple[list[Entry[Any]], list[Entry[Any]]]:
        """Entries that have aged, and those that had to go."""
        self._bury()
        aged: list[Entry[Any]] = []
        gone: list[Entry[Any]] = []
        limit = self.limit - min(_core.sized_programs()[1], int(self.limit * _SIZED))
        # The newest never ages: by itself it may be larger than the share.
        while len(self._young.references) > 1 and self._young.nbytes > limit * _AGED:
            reference = self._young.oldest()
            self._young.take(reference.number)
            self._old.add(reference)
            aged += _living(reference)
        while self._young.nbytes + self._old.nbytes > limit:
            queue = self._old if self._old.references else self._young
            reference = queue.oldest()
            queue.take(reference.number)
            for entry in _living(reference):
                entry.leave()
                gone.append(entry)
                if self.limit and len(self._evicted) < _MOST_EVICTED:
                    self._evicted.add(entry.mark)
        return aged, gone

    def left(self) -> int:
        """What is left for the programs that texts have made: their share, or more."""
        held = self._young.nbytes + self._old.nbytes
        return min(max(self.limit - held, int(self.limit * _SIZED)), _MOST_SIZED)

    def returns(self, entry: Entry[Any]) -> bool:
        """Whether it had been evicted under this limit; true once, so that nobody warns twice."""
        return self._locked(self._returns, entry)

    def _returns(self, entry: Entry[Any]) -> bool:
        found = not self._warned and entry.mark in self._evicted
        self._warned = self._warned or found
        return found


def _living(reference: _Reference) -> list[Entry[Any]]:
    entry = reference()
    return [] if entry is None else [entry]


def _tell(aged: list[Entry[Any]], gone: list[Entry[Any]]) -> None:
    for entry in (*aged, *gone):
        entry.forget()
    # They go by themselves, the one used least lately first, and are made again without Python.
    _core.set_sized_limit(_budget.left())


_budget = _Budget(_LIMIT)
_numbers = count(1)
# A fork waits for bookkeeping under way, which the child would never see the end of.
os.register_at_fork(
    before=_budget.lock.acquire,
    after_in_parent=_budget.lock.release,
    after_in_child=_budget.lock.release,
)


class Programs(Generic[V]):
    """The programs of one owner by key. name: what the owner is called in a warning.

    owner: refers to an object whose `_forget` drops what was remembered natively.
    """

    __slots__ = ("__weakref__", "_entries", "name", "number", "owner")

    def __init__(self, name: str, owner: Callable[[], Any] | None = None) -> None:
        self.name = name
        self.owner = owner
        self.number = next(_numbers)
        self._entries: dict[Hashable, Entry[V]] = {}

    def get(self, key: Hashable) -> Entry[V] | None:
        """The entry of a key, which is thereby used."""
        entry = self._entries.get(key)
        # Among those used since the last one came the order does not matter.
        if entry is not None and entry.seen != _budget.count:
            _budget.touch(entry)
        return entry

    def put(self, key: Hashable, value: V, nbytes: int, again: bool = True) -> Entry[V]:
        """Keeps a value under a key, in place of what was there.

        What is larger than the whole budget is not kept: the entry says so. again: whether it is
        worth a warning that it has been made before and evicted.
        """
        entry = Entry(self, key, value, nbytes)
        before = self._entries.get(key)
        self._entries[key] = entry
        if before is not None:
            _budget.drop([before])
        returns = again and _budget.returns(entry)
        _budget.add(entry)
        if returns:
            warnings.warn(
                f"{self.name}: compiled again what had been dropped, for programs together take "
                f"more than {limit()} bytes; lamella.set_cache_bytes(n) lets them take more",
                RuntimeWarning,
                stacklevel=2,
            )
        return entry

    def change(self, entry: Entry[V], nbytes: int) -> None:
        """An entry holds so many bytes now."""
        _budget.change(entry, nbytes)

    def clear(self) -> None:
        """Drops all entries."""
        entries, self._entries = self._entries, {}
        _budget.drop(entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry[V]]:
        return iter(list(self._entries.values()))


def limit() -> int:
    """The most bytes that all programs may take together."""
    return _budget.limit


def set_limit(nbytes: int) -> None:
    """Changes that; drops at once what is too much, the one used least lately first."""
    _budget.resize(nbytes)


def held() -> tuple[int, int]:
    """How many programs are kept, and their bytes."""
    return _budget.held()


def clear() -> None:
    """Drops every entry of every owner."""
    entries = _budget.entries()
    for entry in entries:
        entry.leave()
    _budget.drop(entries)
    _core.set_sized_limit(0)
    _tell([], entries)
