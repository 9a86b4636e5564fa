# SPDX-License-Identifier: Apache-2.0
"""Where batches come from: whole data sets, shuffled and gathered, or an iterable of batches.

A source has `epoch(number, start)`, an iterator over the arguments of one call of a TrainStep per
batch. A sample of weight 0 is one that is not there: no batch has it. Data sets are never copied as
a whole, except small ones of another element type (_CAST_ONCE): the step itself gathers rows of
contiguous arrays of its own types, every other array is read batch by batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sized
from itertools import islice
from typing import Any

import numpy as np

from lamella.errors import DTypeError, ShapeError, message
from lamella.ir.types import Array, DType
from lamella.runtime.signature import refuse_masked

__all__ = ["Arrays", "Stream", "leaves", "mapped", "permutation"]

# A data set of another type than the net's is converted as a whole up to this many bytes, so that
# the step can gather from it: little beside a training process, much for a table of a million rows.
_CAST_ONCE = 32 << 20

# So many rows of each array tell one data set from another.
_WITNESSES = 16

_ANYTHING: Mapping[str, str] = {}


def permutation(samples: int, seed: int, epoch: int) -> Array:
    """The order of the samples in an epoch, by a counter-based generator.

        order = stable argsort of Philox4x64(key = seed, counter = epoch * 2**64), `samples` words

    Any epoch's order is known without those before it. The stream of words is one of those that
    NumPy keeps the same in all versions (NEP 19), on every machine.

    Parameters: samples >= 0; seed, 0 <= seed < 2**64; epoch, 0 <= epoch < 2**64.
    Returns: int64 of shape (samples,), a permutation of range(samples).
    Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011.

    >>> from lamella.train.data import permutation
    >>> permutation(8, seed=0, epoch=1).tolist()
    [0, 1, 6, 5, 3, 7, 2, 4]
    """
    words = np.random.Philox(key=seed, counter=epoch << 64).random_raw(samples)
    return sorted_by(words)


def sorted_by(words: Array) -> Array:
    """The stable order of words that are hardly ever equal.

    Without equal ones every sort gives the same order, and NumPy's vectorised one needs a fifth of
    the stable one's time (6,400 words: 52 us, not 236; with batches of 32 that is 1 us a batch).
    """
    order = np.argsort(words)
    ascending = words[order]
    if (ascending[1:] == ascending[:-1]).any():
        order = np.argsort(words, kind="stable")
    return order.astype(np.int64, copy=False)


def leaves(tree: Any) -> list[Any]:
    """The arrays of a tuple or dict of arrays, or of one array."""
    if isinstance(tree, Mapping):
        return [leaf for item in tree.values() for leaf in leaves(item)]
    if isinstance(tree, tuple):
        return [leaf for item in tree for leaf in leaves(item)]
    return [tree]


def mapped(function: Callable[[Any], Any], tree: Any) -> Any:
    """The same tuple or dict with `function` applied to each array."""
    if isinstance(tree, Mapping):
        return {name: mapped(function, item) for name, item in tree.items()}
    if isinstance(tree, tuple):
        return tuple(mapped(function, item) for item in tree)
    return function(tree)


def as_array(name: str, value: Any) -> Array:
    """A NumPy view of an array, a torch tensor or a list; memory maps stay mapped."""
    if hasattr(value, "detach"):  # a torch tensor may be part of a graph
        value = value.detach()
    try:
        array = value if isinstance(value, np.ndarray) else np.asarray(value)
    except (TypeError, ValueError) as error:  # bfloat16 tensors; lists of different lengths
        fault = {name: type(value).__name__, "fault": error}
        raise DTypeError(message("fit", "not an array", fault, "arrays of numbers")) from error
    if array.dtype == object and array.ndim == 0:
        got = {name: type(value).__name__}
        expected = "an array; or x an iterable of batches (x, y), and no y beside it"
        raise DTypeError(message("fit", "not an array", got, expected))
    refuse_masked(array, "fit", name)
    if array.dtype.kind not in "fiub":
        raise DTypeError(
            message("fit", "not numbers", {name: array.dtype}, "floating, integer or bool")
        )
    if array.ndim == 0:
        raise ShapeError(
            message("fit", "no samples", {name: array.shape}, "samples along the first axis")
        )
    return array


def element(array: Array, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type in which a step takes this array: the net's, its own, or int64."""
    if array.dtype.kind == "f":
        return dtype
    native = array.dtype.newbyteorder("=")
    return native if DType.known(native) else np.dtype(np.int64)


class Rows:
    """Batches of one array: the rows of any index, in the step's element type."""

    def __init__(self, name: str, value: Any, dtype: np.dtype[Any], whole: bool) -> None:
        array = as_array(name, value)
        self.dtype = element(array, dtype)
        self.mapped = isinstance(array, np.memmap)
        array = np.asarray(array)
        size = array.size * self.dtype.itemsize
        if whole and not self.mapped and not self._ready(array) and size <= _CAST_ONCE:
            array = np.ascontiguousarray(array, self.dtype)
        self.array = array
        # np.take copies an array that is not contiguous, aligned and native as a whole.
        self.simple = array.flags.carray and array.dtype.isnative
        self._taken: Array | None = None
        self._cast: Array | None = None

    def _ready(self, array: Array) -> bool:
        flags = array.flags
        return array.dtype == self.dtype and array.dtype.isnative and flags.c_contiguous

    @property
    def native(self) -> bool:
        """Whether a step gathers from it as it lies."""
        array = self.array
        return self._ready(array) and array.flags.aligned and array.dtype.kind != "b"

    def require_numbers(self, name: str, used: Array | None) -> None:
        """Raises ValueError if a sample holds NaN; `used`: which samples count, None for all.

        Memory maps are passed over: to look at one is to read a file that may be large.
        """
        if self.mapped or self.array.dtype.kind != "f":
            return
        with np.errstate(all="ignore"):
            # Any NaN is also one in the sum, which takes no memory.
            if not np.isnan(self.array.sum()):
                return
            bad = np.isnan(self.array).reshape(len(self.array), -1).any(axis=1)
        samples = np.flatnonzero(bad) if used is None else used[bad[used]]
        if samples.size:
            got = {name: f"NaN in sample {samples[0]}", "samples with NaN": samples.size}
            advice = "One would turn every parameter into NaN; sample_weight=0 leaves it out"
            raise ValueError(message("fit", "not a number", got, "numbers", advice))

    def take(self, index: Array | slice) -> Array:
        """The rows; what is not a view of the array is written over by the next call."""
        count = index.stop - index.start if isinstance(index, slice) else index.size
        if isinstance(index, slice) or not self.simple:
            found = self.array[index]
        else:
            if self._taken is None or len(self._taken) < count:
                self._taken = np.empty((count, *self.array.shape[1:]), self.array.dtype)
            found = self._taken[:count]
            np.take(self.array, index, axis=0, out=found, mode="clip")
        if found.dtype == self.dtype:
            return found
        if self._cast is None or len(self._cast) < count:
            self._cast = np.empty((count, *self.array.shape[1:]), self.dtype)
        np.copyto(self._cast[:count], found, casting="unsafe")
        return self._cast[:count]


class Arrays:
    """Whole data sets, in batches of rows.

    Parameters: x and y, an array or a tuple or dict of them, the same length; weight, float of
    shape (samples,), or None; samples of weight 0 are left out; dtype, the net's; numbers, which of
    "x" and "y" may not hold NaN, and what errors call them. Raises: ShapeError, DTypeError,
    ValueError.
    """

    def __init__(
        self,
        x: Any,
        y: Any,
        weight: Any,
        *,
        dtype: np.dtype[Any],
        batch_size: int,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
        rows: bool = True,
        numbers: Mapping[str, str] = _ANYTHING,
    ) -> None:
        self.x = mapped(lambda leaf: Rows("x", leaf, dtype, True), x)
        self.y = mapped(lambda leaf: Rows("y", leaf, dtype, True), y)
        every: list[Rows] = [*leaves(self.x), *leaves(self.y)]
        lengths = [len(leaf.array) for leaf in every]
        shapes = {"x": _shapes(self.x), "y": _shapes(self.y)}
        if len(set(lengths)) != 1:
            raise ShapeError(
                message("fit", "different numbers of samples", shapes, "one length of all arrays")
            )
        self.weight = None if weight is None else weights(weight, lengths[0], dtype)
        self.kept = None
        if self.weight is not None and not self.weight.all():
            self.kept = np.flatnonzero(self.weight)
        if self.weight is not None and np.isin(self.weight, (0, 1)).all():
            # Weights of one are none: the same programs, and the same bits.
            self.weight = None
        self.samples = lengths[0] if self.kept is None else len(self.kept)
        self.batch_size, self.shuffle, self.drop_last = batch_size, shuffle, drop_last
        self.seed = seed
        self.batches = -(-self.samples // batch_size)
        if drop_last:
            self.batches = self.samples // batch_size
        if self.batches == 0:
            rule = "no batch" if self.samples else "no samples"
            advice = "drop_last=True leaves nothing of so few samples." if self.samples else ""
            raise ShapeError(message("fit", rule, shapes, "at least one batch", advice))
        for part, name in numbers.items():
            for leaf in leaves(self.x if part == "x" else self.y):
                leaf.require_numbers(name, self.kept)
        #: Samples of a smaller last batch.
        self.rest = 0 if drop_last else self.samples % batch_size
        self.native = rows and all(leaf.native for leaf in every)
        whole = lambda rows: rows.array  # noqa: E731
        self._whole = (mapped(whole, self.x), mapped(whole, self.y))

    def epoch(self, number: int, start: int = 0) -> Generator[tuple[Any, ...], None, None]:
        """The arguments of a call for each batch from `start` on: of step.rows if native."""
        if self.shuffle:
            order = permutation(self.samples, self.seed, number)
        else:
            order = np.arange(self.samples, dtype=np.int64)
        order = order if self.kept is None else self.kept[order]
        return self._rows(order, start) if self.native else self._gathered(order, start)

    def _rows(self, order: Array, start: int) -> Generator[tuple[Any, ...], None, None]:
        x, y = self._whole
        size, weight = self.batch_size, self.weight
        for first in range(start * size, self.batches * size, size):
            yield x, y, order[first : first + size], weight

    def _gathered(self, order: Array, start: int) -> Generator[tuple[Any, ...], None, None]:
        size, weight = self.batch_size, self.weight
        in_order = not self.shuffle and self.kept is None
        for first in range(start * size, self.batches * size, size):
            last = min(first + size, self.samples)
            index = slice(first, last) if in_order else order[first:last]
            x, y = (mapped(lambda rows: rows.take(index), tree) for tree in (self.x, self.y))  # noqa: B023
            yield x, y, None if weight is None else weight[index]

    def digest(self) -> str | None:
        """What tells these data from others: of shapes, and of rows here and there with weights."""
        found = hashlib.sha256()
        for leaf in [*leaves(self.x), *leaves(self.y)]:
            index = np.linspace(0, len(leaf.array) - 1, _WITNESSES).astype(np.int64)
            found.update(f"{leaf.array.shape}{leaf.dtype}".encode())
            found.update(np.ascontiguousarray(leaf.array[index], leaf.dtype).tobytes())
            if self.weight is not None:
                found.update(self.weight[index].tobytes())
            elif self.kept is not None:
                found.update(np.isin(index, self.kept).tobytes())
        return found.hexdigest()[:16]

    def targets(self, arguments: tuple[Any, ...]) -> Any:
        """y of the batch that has these arguments."""
        if not self.native:
            return arguments[1]
        return mapped(lambda y: y[arguments[2]], arguments[1])

    def examples(self) -> list[tuple[Any, ...]]:
        """The arguments of a call for a batch and for a smaller last one; [] without one."""
        if not 0 < self.rest < self.samples:
            return []
        return [self._example(count) for count in (self.batch_size, self.rest)]

    def _example(self, count: int) -> tuple[Any, ...]:
        index = np.arange(count) if self.kept is None else self.kept[:count]
        weight = self.weight
        if self.native:
            return (*self._whole, index.astype(np.int64, copy=False), weight)
        x, y = (mapped(lambda rows: rows.take(index), tree) for tree in (self.x, self.y))
        return x, y, None if weight is None else weight[index]


def _shapes(tree: Any) -> Any:
    return mapped(lambda rows: rows.array.shape, tree)


def weights(value: Any, samples: int | None, dtype: np.dtype[Any]) -> Array:
    """Weights of samples, judged: one finite number >= 0 for each."""
    weight = as_array("sample_weight", value)
    if weight.ndim != 1 or (samples is not None and len(weight) != samples):
        expected = "(samples,)" if samples is None else f"({samples},)"
        raise ShapeError(
            message("fit", "one weight for each sample", {"sample_weight": weight.shape}, expected)
        )
    if not (np.isfinite(weight).all() and (weight >= 0).all()):
        raise ValueError(message("fit", "a weight is negative or not finite", None, "weights >= 0"))
    return np.ascontiguousarray(weight, dtype)


class Stream:
    """Batches that an iterable gives: items (x, y) or (x, y, weight).

    Parameters: iterable, a list, generator, torch DataLoader, ...; weigh, a function from y and the
    weight of a batch to its weight; dtype, the net's; numbers, as of Arrays. Samples of weight 0
    are left out, and batches without a sample are skipped.
    """

    native = False
    samples: int | None = None
    #: Samples of a smaller batch, as far as it is known.
    rest = 1

    def __init__(
        self,
        iterable: Iterable[Any],
        weigh: Callable[[Any, Any], Any],
        *,
        dtype: np.dtype[Any],
        numbers: Mapping[str, str] = _ANYTHING,
    ) -> None:
        self.iterable = iterable
        self.weigh = weigh
        self.dtype = dtype
        self.numbers = numbers
        self.once = isinstance(iterable, Iterator)
        self.batches = len(iterable) if isinstance(iterable, Sized) else None
        self._read = 0

    def epoch(self, number: int, start: int = 0) -> Generator[tuple[Any, ...], None, None]:
        """The arguments of a call for each batch; the first `start` are read and passed over."""
        del number
        self._read = 0
        for item in self.iterable:
            x, y, weight = self._batch(item)
            if len(leaves(y)[0]):
                self._read += 1
                if self._read > start:
                    yield x, y, weight
        if self._read < start:
            rule = "the data end before the position of the checkpoint"
            got = {"batches": self._read}
            raise ValueError(message("fit", rule, got, f"at least {start}"))

    def digest(self) -> str | None:
        """What tells these data from others: they are not known before they come."""
        return None

    def _batch(self, item: Any) -> tuple[Any, Any, Any]:
        if not isinstance(item, tuple | list) or len(item) not in (2, 3):
            found = len(item) if isinstance(item, tuple | list) else type(item).__name__
            raise TypeError(
                message("fit", "not a batch", {"item": found}, "(x, y) or (x, y, weight)")
            )
        x, y = (
            mapped(lambda leaf: _converted(name, leaf), _tuples(tree))  # noqa: B023
            for name, tree in zip("xy", item[:2], strict=True)
        )
        lengths = {len(leaf) for leaf in [*leaves(x), *leaves(y)]}
        if len(lengths) != 1:
            shapes = {"x": mapped(np.shape, x), "y": mapped(np.shape, y)}
            raise ShapeError(message("fit", "a batch of different lengths", shapes, "one length"))
        given = item[2] if len(item) == 3 else None
        if given is not None:
            given = weights(given, lengths.pop(), self.dtype)
        weight = self.weigh(y, given)
        if weight is not None and not weight.all():
            kept = np.flatnonzero(weight)
            x, y, weight = (mapped(lambda leaf: leaf[kept], tree) for tree in (x, y, weight))
        self._require_numbers(x, y)
        return x, y, None if weight is None else weight.astype(self.dtype, copy=False)

    def _require_numbers(self, x: Any, y: Any) -> None:
        for part, name in self.numbers.items():
            for leaf in leaves(x if part == "x" else y):
                if leaf.dtype.kind == "f" and np.isnan(leaf).any():
                    got = {name: "NaN", "batch": self._read + 1}
                    advice = "One would turn every parameter into NaN"
                    raise ValueError(message("fit", "not a number", got, "numbers", advice))

    def targets(self, arguments: tuple[Any, ...]) -> Any:
        """y of the batch that has these arguments."""
        return arguments[1]

    def examples(self) -> list[tuple[Any, ...]]:
        """Of batches in a list, one of a single sample behind the first; [] without one."""
        if not isinstance(self.iterable, list | tuple):
            return []
        single = (self._batch(item) for item in self.iterable[1:] if _size(item) == 1)
        return [batch for batch in islice(single, 1) if len(leaves(batch[1])[0])]


def _size(item: Any) -> int:
    """How many samples a batch has; 0 for what is none, which is told when its turn comes."""
    try:
        return len(leaves(_tuples(item[1]))[0])
    except (TypeError, LookupError):
        return 0


def _converted(name: str, value: Any) -> Array:
    array = as_array(name, value)
    return array if array.dtype.kind == "f" else array.astype(element(array, array.dtype))


def _tuples(tree: Any) -> Any:
    """A list of arrays, as DataLoaders collate several inputs, is a tuple of them."""
    if isinstance(tree, list) and tree and all(hasattr(leaf, "__array__") for leaf in tree):
        return tuple(tree)
    return tree
