# SPDX-License-Identifier: Apache-2.0
"""What a program takes of Python while it is traced, and whether that still holds.

Arrays that the traced code has met become leaves that every run reads where they lie; where a
program cannot read them in place, the watch copies them first. Everything else is a constant of the
program: the watch compares it, in the core, with what is there at the next call.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from lamella import _core
from lamella.errors import UnsupportedError, message
from lamella.ir.graph import Source
from lamella.ir.types import Array, DType
from lamella.runtime.reads import Place, Reads, read
from lamella.runtime.signature import is_ready

__all__ = ["NOTHING_TAKEN", "ArrayFact", "Taken", "UserArray", "Watched", "identity"]

# Elements that forward itself may have read are compared up to here, in some 100 ns.
MOST_BYTES = 4096


class UserArray:
    """An array of the user's as the storage behind a leaf: without a version, read at every run.

    origin: the array as the code met it; array: what the program reads, the same or a copy that the
    watch renews; name: what listings call it; key: where it lies, and as what.
    """

    __slots__ = ("array", "key", "name", "origin", "version")

    def __init__(self, origin: Array, array: Array, name: str, key: Hashable) -> None:
        self.origin = origin
        self.array = array
        self.key = key
        self.name = name
        self.version: Array | None = None

    @property
    def memory(self) -> Array:
        """The array itself."""
        return self.array


class ArrayFact(NamedTuple):
    """An array that the traced code can reach: read by the program at every run, or else compared.

    compared: whether its elements are; of an array that is read they are, until a change has shown
    that the traced code itself computes nothing from them.
    """

    name: str
    array: Array
    read: bool
    compared: bool


class Watched(NamedTuple):
    """What one program has taken: for explanations, and the native comparison; None for nothing.

    written: the numbers of places that the traced code itself has changed; met: the arrays behind
    the program's leaves; proven: by identity, those that may change as they like.
    """

    places: tuple[Place, ...]
    arrays: tuple[ArrayFact, ...]
    modules: tuple[Any, ...]
    native: _core.Watch | None
    written: frozenset[int] = frozenset()
    met: tuple[UserArray, ...] = ()
    proven: frozenset[int] = frozenset()

    def holds(self) -> bool:
        """Whether the program is still what a trace would give; to be asked before every run."""
        return self.native is None or self.native.holds()

    def changed(self) -> list[str]:
        """The names of what has changed."""
        if self.native is None:
            return []
        names = [place.name for place in self.places if place.watched]
        names += [fact.name for fact in self.arrays]
        return [names[i] for i in self.native.changed() if i < len(names)]

    def changed_arrays(self) -> set[int]:
        """The identities of arrays that have changed."""
        if self.native is None:
            return set()
        first = sum(place.watched for place in self.places)
        numbers = [i - first for i in self.native.changed() if i >= first]
        return {id(self.arrays[i].array) for i in numbers if i < len(self.arrays)}


NOTHING_TAKEN = Watched((), (), (), None)


def identity(source: Source) -> Hashable:
    """Equal for leaves of different traces that read the same memory as the same type."""
    return source.key if isinstance(source, UserArray) else (id(source), id(source.memory))


class Taken:
    """What the code of `root` can read, and which of it a trace has met.

    leaves: whether arrays become leaves; constants otherwise.
    """

    def __init__(self, root: Any, leaves: bool = True) -> None:
        self.reads: Reads = read(root)
        self._leaves = leaves
        self._before = self._snapshot() if leaves else None
        self._name = getattr(root, "__name__", type(root).__name__)
        self._met: dict[tuple[Any, ...], UserArray] = {}
        self._owners: dict[int, str] = {}
        for name, array in self.reads.arrays.values():
            self._owners.setdefault(id(_owner(array)), name)

    def storage_of(self, array: Any) -> UserArray | None:
        """The storage behind an operand that is, or lies in, an array of the user's."""
        if not self._leaves or type(array) not in (np.ndarray, np.memmap):
            return None
        name = self._owners.get(id(_owner(array)))
        dtype = _element(array)
        if name is None or dtype is None:
            return None
        address = array.__array_interface__["data"][0]
        key = (address, array.shape, array.strides, array.dtype.str)
        found = self._met.get(key)
        if found is None:
            own = self.reads.arrays.get(id(array))
            name = name if own is None else own[0]
            view = np.asarray(array)
            if not is_ready(view):
                view = array.astype(dtype.numpy, order="C")
            found = self._met[key] = UserArray(array, view, name, key)
        return found

    @contextmanager
    def watching_draws(self) -> Iterator[None]:
        """Raises UnsupportedError where within a generator of NumPy's or Python's is drawn from."""
        before = [_state(one) for one in self.reads.generators]
        yield
        for generator, state in zip(self.reads.generators, before, strict=True):
            if not _same(_state(generator), state):
                raise UnsupportedError(
                    message(
                        self._name,
                        "random numbers drawn while tracing would be the same at every call",
                        {"generator": _described(generator)},
                        "numbers drawn by the program, or outside",
                        "Use F.rand_like, F.randn_like or F.bernoulli, or pass numbers as an input",
                    )
                )

    def _snapshot(self) -> _core.Watch:
        arrays = [
            (array, None, _is_comparable(array) and array.flags.c_contiguous)
            for _, array in self.reads.arrays.values()
        ]
        places = [(place.kind, place.holder, place.key) for place in self.reads.places]
        return _core.Watch(tuple(places), tuple(arrays))

    def settle(
        self,
        structured: bool,
        earlier: Watched | None = None,
        stored: Sequence[Source] = (),
    ) -> Watched:
        """What the trace, now over, has taken.

        What the traced code itself has changed is not compared: it would never be the same twice.
        structured: whether others notice attributes assigned to modules; earlier: of a program that
        this trace has given again, although something has changed since; stored: parameters and
        buffers whose arrays have to stay the same.
        """
        assert self._before is not None
        written = set(self._before.changed())
        met = tuple(self._met.values()) if earlier is None else earlier.met
        proven = set() if earlier is None else earlier.proven | earlier.changed_arrays()
        read_ids = {id(_owner(one.origin)) for one in met}
        facts: list[ArrayFact] = []
        rows: list[tuple[Array, Array | None, bool]] = []
        count = len(self.reads.places)
        for number, (name, array) in enumerate(self.reads.arrays.values(), start=count):
            is_read = id(_owner(array)) in read_ids
            free = number in written or (is_read and id(array) in proven)
            compared = _is_comparable(array) and not free
            facts.append(ArrayFact(name, array, is_read, compared))
            copied = compared and not array.flags.c_contiguous
            copy = np.empty(array.shape, array.dtype) if copied else None
            rows.append((array, copy, compared))
        for one in met:
            if not np.may_share_memory(one.array, one.origin):
                rows.append((one.origin, one.array, False))
            owner = _owner(one.origin)
            if id(owner) not in self.reads.arrays:
                rows.append((owner, None, False))
        places = tuple(
            [
                place._replace(watched=number not in written and (place.watched or not structured))
                for number, place in enumerate(self.reads.places)
            ]
            + [
                Place(f"array of {one.name or 'a parameter'}", "slot", one, "memory", True)
                for one in stored
                if not isinstance(one, UserArray)
            ]
        )
        native = tuple([(one.kind, one.holder, one.key) for one in places if one.watched])
        watch = _core.Watch(native, tuple(rows)) if native or rows else None
        modules = tuple(self.reads.modules)
        return Watched(
            places, tuple(facts), modules, watch, frozenset(written), met, frozenset(proven)
        )


def _owner(array: Array) -> Any:
    """The array that has the memory, as far as NumPy tells."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _is_comparable(array: Array) -> bool:
    return not array.dtype.hasobject and array.nbytes <= MOST_BYTES


def _element(array: Array) -> DType | None:
    """The type that programs compute an array's elements with; None for what they do not.

    Nor for uint64, whose elements have to be looked at.
    """
    kind, size = array.dtype.kind, array.dtype.itemsize
    native = array.dtype.newbyteorder("=")
    if kind == "f" and size == 2:
        return DType.float32
    if kind in "fiub" and DType.known(native):
        return DType.of(native)
    return DType.int64 if kind == "i" or (kind == "u" and size < 8) else None


def _state(generator: Any) -> Any:
    """What a draw changes."""
    if isinstance(generator, np.random.RandomState):
        return generator.get_state(legacy=False)
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    if isinstance(generator, np.random.BitGenerator):
        return generator.state
    return generator.getstate()


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    return bool(a == b)


def _described(generator: Any) -> str:
    if generator is np.random.mtrand._rand:
        return "numpy.random"
    return f"{type(generator).__module__}.{type(generator).__name__}"
