# SPDX-License-Identifier: Apache-2.0
"""Arrays that stay in place between calls: parameters, buffers and counters.

Each owns C-contiguous storage and a version that counts its changes; compiled programs read the
storage where it lies and repack what they derived from it when the version moves on. The storage is
therefore seen through read-only views (`p.data`, `np.asarray(p)`) and changed by assignment
(`p.data = a`), which copies.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella import _core
from lamella.errors import DTypeError, ShapeError, UnsupportedError, message
from lamella.habits import is_device, unknown
from lamella.ir.graph import Value
from lamella.ir.types import Array, DType, TensorType, is_bfloat16
from lamella.nn.narrow import narrowed, widened
from lamella.runtime.signature import as_array
from lamella.runtime.tensor import Operand
from lamella.runtime.trace import Trace

# Smaller ones are a few pages; they have no storage that could be given up.
_WORTH_FREEZING = 1 << 16

__all__ = ["Buffer", "Counter", "Parameter", "Stored", "new_array"]


def floating(op: str, dtype: Any) -> DType:
    """The type of a layer's `dtype=` argument: float32 (the default, None) or float64."""
    found = DType.of(np.float32 if dtype is None else dtype)
    if not found.is_floating:
        rule, cure = "not a floating type", ""
        if found.is_storage:
            rule = "a type of storage, which nothing is computed in"
            cure = f'Weights of dense layers are stored so: nn.Linear(..., dtype="{found}"), or'
            cure += f' net.narrow("{found}")'
        raise DTypeError(message(op, rule, {"dtype": found}, "float32 or float64", cure))
    return found


def new_array(op: str, shape: tuple[int, ...], device: Any, dtype: Any) -> Array:
    """Zeros for a layer's parameter; judges the layer's sizes, `device=` and `dtype=`.

    >>> from lamella import nn
    >>> nn.parameter.new_array("Linear", (2, 3), None, None).dtype
    dtype('float32')
    """
    if device is not None and not is_device(op, device):
        raise UnsupportedError(message(op, "only CPUs", {"device": device}, "None or 'cpu'"))
    if any(isinstance(size, bool) or not hasattr(size, "__index__") for size in shape):
        raise DTypeError(message(op, "sizes are integers", {"sizes": shape}, "int"))
    if any(size < 0 for size in shape):
        raise ShapeError(message(op, "negative size", {"sizes": shape}, "sizes >= 0"))
    element = floating(op, dtype)
    TensorType(shape, element)
    return np.zeros(shape, element.numpy)


def own(op: str, data: Any, dtype: Any = None) -> Array:
    """A contiguous native copy of `data` in one of lamella's dtypes.

    Lists, numbers, float16 and bfloat16 become float32, integers of a type that programs do not
    have int64; the rest keeps its dtype, and what is stored already that of storage.
    """
    array = data.array if isinstance(data, Stored) else as_array(data, op, "data")
    array = widened(array) if is_bfloat16(array.dtype) else array
    if dtype is None and isinstance(data, Stored) and data.dtype.is_storage:
        dtype = data.dtype
    kept = None if dtype is None else DType.of(dtype)
    if kept is not None:
        target = np.dtype(np.float32) if kept.is_storage else kept.numpy
    elif array.dtype.kind == "f":
        wide = array.dtype.itemsize >= 8 and hasattr(data, "dtype")
        target = np.dtype(np.float64 if wide else np.float32)
    elif array.dtype.kind in "iu" and not DType.known(array.dtype.newbyteorder("=")):
        target = np.dtype(np.int64)
    else:
        target = array.dtype.newbyteorder("=")
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        raise DTypeError(
            message(op, "no such element type", {"data": array.dtype}, "numbers or truth values")
        )
    if array.dtype.kind == "f" and target.kind != "f":
        raise DTypeError(message(op, "would drop fractions", {"data": array.dtype}, str(target)))
    if kept is not None and kept.is_storage:
        return np.array(narrowed(array, kept), order="C")
    return np.array(array, dtype=target, order="C", copy=True)


class Stored(Operand):
    """Storage shared by a model and its compiled programs; see Parameter and Buffer.

    memory: the array that programs read, for its place, shape and type; while the storage is frozen
    its elements may lie in a packed form alone. bits: the same elements, there to be read; array:
    their values. Those two differ for bfloat16 only, whose bits are a uint16.
    """

    __slots__ = (
        "__weakref__",
        "_seen",
        "_shown",
        "_storage",
        "memory",
        "name",
        "structure",
        "version",
    )

    memory: Array
    version: Array
    name: str
    # Which array it is, and whether it is learnt: not its values.
    structure: _core.Structure

    def __init__(self, array: Array) -> None:
        self._keep(array)
        self.name = ""
        self.structure = _core.Structure()

    def _keep(self, array: Array) -> None:
        """Makes `array`, of which nobody else knows, the storage."""
        storage: _core.Storage | None = None
        if array.dtype == np.uint16:
            # NumPy's own dtype object, which a pickle's array has not.
            array = array.view(DType.bfloat16.numpy)
        if array.nbytes >= _WORTH_FREEZING:
            kind = DType.stored(array.dtype).value
            storage = _core.Storage(array)
            # Two objects: as long as the one that programs do not hold lives, somebody can read it.
            memory, shown = (storage.array(kind, array.shape) for _ in range(2))
            version = storage.version()
        else:
            # Read-only itself, so that no view of it can be made writeable.
            array.flags.writeable = False
            memory, shown, version = array, array, np.zeros(1, np.int64)
        self._storage = storage
        self._seen: weakref.ref[Array] | None = None
        self._shown: Array | None = shown
        # The array last: who has seen the new one has its version too.
        self.version = version
        self.memory = memory

    @property
    def array(self) -> Array:
        """The values, read-only; of bfloat16 a float32 copy."""
        bits = self.bits
        if bits.dtype != np.uint16:
            return bits
        values = widened(bits)
        values.flags.writeable = False
        return values

    @property
    def bits(self) -> Array:
        """The elements, read-only; unpacked where they lie packed alone."""
        shown = self._shown
        if shown is None and self._seen is not None:
            shown = self._seen()
        if shown is None:
            assert self._storage is not None
            self._storage.show()
            shown = self._storage.array(self.dtype.value, self.memory.shape)
            self._let_go(shown)
        return shown

    def _let_go(self, shown: Array) -> None:
        """Has the storage told when nobody sees `shown` any more, from which it is kept for now."""
        assert self._storage is not None
        weakref.finalize(shown, self._storage.hide).atexit = False
        self._seen = weakref.ref(shown)

    @property
    def frozen(self) -> bool:
        """Whether the elements may lie in their packed form alone; see `Module.freeze`."""
        return self._storage is not None and self._storage.frozen

    def freeze(self) -> None:
        """Lets the packed form replace the array; see `Module.freeze`.

        >>> from lamella import nn
        >>> nn.Parameter([1.0]).freeze()
        """
        if self._storage is None or (self._storage.frozen and self._shown is None):
            return
        shown, self._shown = self._shown, None
        if shown is not None:
            self._storage.show()
            self._let_go(shown)
        self._storage.freeze()

    def unfreeze(self) -> None:
        """Takes `freeze` back: the elements lie in the array again.

        >>> from lamella import nn
        >>> nn.Parameter([1.0]).unfreeze()
        """
        if self._storage is not None:
            self._storage.unfreeze()
            self._shown = self.bits

    @property
    def data(self) -> Array:
        """The values, as a read-only view; assign to change them.

        Of bfloat16, which NumPy has not, a read-only float32 copy. Storage types round what is
        assigned to the nearest number, or else to the even one.
        """
        return self.array.view()

    @data.setter
    def data(self, value: Any) -> None:
        name = type(self).__name__
        array = value.array if isinstance(value, Stored) else as_array(value, name, "value")
        self.check(name, array)
        self._write(array)

    def _write(self, array: Array) -> None:
        if self.dtype.is_storage:
            array = narrowed(array, self.dtype)
        # Native, so that no program reads half of it and none that changes it is crossed.
        ready = np.require(array, self.memory.dtype, ["C_CONTIGUOUS", "ALIGNED", "ENSUREARRAY"])
        _core.assign(self.memory, self.version, ready)
        if self._shown is None:
            self._shown = self.bits

    def check(self, op: str, array: Array) -> None:
        """Raises unless `array` may be assigned: same shape, and a type that fits."""
        if array.shape != self.shape:
            raise ShapeError(message(op, "another shape", {"value": array.shape}, f"{self.shape}"))
        kind = "f" if self._is_floating else self.memory.dtype.kind
        kinds = {"f": "fiub", "i": "iub", "u": "ub", "b": "b"}[kind]
        if array.dtype.kind not in kinds and not (kind == "f" and is_bfloat16(array.dtype)):
            raise DTypeError(message(op, "no safe cast", {"value": array.dtype}, f"{self.dtype}"))

    @property
    def _is_floating(self) -> bool:
        return self.dtype.is_floating or self.dtype.is_storage

    def cast(self, dtype: DType | np.dtype[Any]) -> None:
        """Converts floating storage; programs compiled for the old dtype are compiled anew."""
        target = DType.of(dtype)
        if self._is_floating and self.dtype is not target:
            values = self.array
            narrow = target.is_storage
            self._keep(narrowed(values, target) if narrow else values.astype(target.numpy))
            self.structure.touch()

    def _value(self, trace: Trace) -> Value:
        # Behind an assignment within the same forward it is what was assigned.
        for source, value in trace.updates:
            if source is self:
                return value
        return trace.read(self)

    @property
    def dtype(self) -> DType:
        return DType.stored(self.memory.dtype)

    def numpy(self) -> Array:
        """The values, as a read-only view; the same as `data`, and so float32 for bfloat16."""
        return self.data

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        data = self.data
        if dtype is None or np.dtype(dtype) == data.dtype:
            return data.copy() if copy else data
        if copy is False:
            raise ValueError(
                message(
                    type(self).__name__,
                    "another dtype needs a copy",
                    {"dtype": dtype},
                    f"{data.dtype}",
                )
            )
        return data.astype(dtype)

    if not TYPE_CHECKING:

        def __getattr__(self, name):
            raise unknown(type(self).__name__, "parameter", name)

        def __setattr__(self, name, value):
            try:
                object.__setattr__(self, name, value)
            except AttributeError:
                raise unknown(type(self).__name__, "parameter", name) from None

    def __setitem__(self, key: Any, value: Any) -> None:
        raise TypeError(
            message(
                type(self).__name__,
                "no element can be assigned",
                None,
                "an assignment of all",
                "Change a copy: `a = p.numpy().copy()`, and then `p.data = a`.",
            )
        )

    def __repr__(self) -> str:
        of = f" of {self.dtype}" if self.dtype.is_storage else ""
        return f"{type(self).__name__}{of} containing:\n{self.data!r}"

    def __deepcopy__(self, memo: dict[int, Any]) -> Stored:
        build, state = self.__reduce__()
        copy: Stored = build(*state)
        return copy

    def __copy__(self) -> Stored:
        return self.__deepcopy__({})

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self._reduced()

    def _reduced(self, *more: Any) -> tuple[Any, tuple[Any, ...]]:
        if self.dtype.is_storage:
            return _restored, (type(self), np.array(self.bits), *more)
        return type(self), (np.array(self.array), *more)


def _restored(kind: type[Stored], bits: Any, *more: Any) -> Stored:
    """What was pickled or copied of a storage type, bit for bit."""
    if not isinstance(bits, np.ndarray) or not DType.stored(bits.dtype).is_storage:
        raise DTypeError(message(kind.__name__, "no bits of a storage type", None, "an array"))
    found = kind(widened(bits), *more)
    found._keep(bits)
    return found


class Parameter(Stored):
    """A learnt array; assigned to a module's attribute it becomes one of its parameters.

    Parameters: data, an array, list or number, copied (lists and float16 become float32);
    requires_grad, whether optimisers may change it; dtype, float32 or float64, data's by default,
    or bfloat16 or float16: then it is stored so, read as float32, and cannot be learnt.
    Raises: DTypeError when data is not floating.
    Source: torch.nn.Parameter.

    >>> import numpy as np
    >>> from lamella import nn
    >>> p = nn.Parameter([1.0, 2.0])
    >>> p.data = p.data * 2
    >>> np.asarray(p)
    array([2., 4.], dtype=float32)
    """

    __slots__ = ("_requires_grad",)

    def __init__(self, data: Any, requires_grad: bool = True, *, dtype: Any = None) -> None:
        array = own("Parameter", data, dtype)
        kind = DType.stored(array.dtype)
        if not (kind.is_floating or kind.is_storage):
            raise DTypeError(
                message(
                    "Parameter",
                    "only floating arrays can be learnt",
                    {"data": array.dtype},
                    "float32 or float64",
                    "Pass dtype=np.float32, or use nn.Buffer for counts and masks.",
                )
            )
        super().__init__(array)
        self._requires_grad = bool(requires_grad)

    @property
    def requires_grad(self) -> bool:
        """Whether optimisers may change it; a training step leaves the others as they are."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, requires_grad: bool) -> None:
        if self._requires_grad != bool(requires_grad):
            self._requires_grad = bool(requires_grad)
            self.structure.touch()

    def requires_grad_(self, requires_grad: bool = True) -> Parameter:
        """Sets whether optimisers may change it; returns self.

        >>> from lamella import nn
        >>> nn.Parameter([1.0]).requires_grad_(False).requires_grad
        False
        """
        self.requires_grad = requires_grad
        return self

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self._reduced(self.requires_grad)


class Buffer(Stored):
    """An array that belongs to a module's state without being learnt: statistics, masks, tables.

    Parameters: data, an array, list or number, copied; persistent, whether state_dict holds it;
    dtype, data's by default.
    Source: torch.nn.Buffer.

    >>> from lamella import nn
    >>> nn.Buffer([0.0, 1.0]).shape
    (2,)
    """

    __slots__ = ("persistent",)

    def __init__(self, data: Any, persistent: bool = True, *, dtype: Any = None) -> None:
        super().__init__(own("Buffer", data, dtype))
        self.persistent = bool(persistent)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self._reduced(self.persistent)


class Counter(Buffer):
    """A whole number that programs count up: an int64 scalar outside, float64 storage inside.

    Programs add floating numbers only; float64 counts exactly up to 2**53.

    >>> from lamella import nn
    >>> int(nn.parameter.Counter().data)
    0
    """

    __slots__ = ()

    def __init__(self, data: Any = 0, persistent: bool = True) -> None:
        super().__init__(np.asarray(data, np.float64), persistent)

    @property
    def data(self) -> Array:
        """The count, an int64 array of shape ()."""
        count = self.array.astype(np.int64)
        count.flags.writeable = False
        return count

    @data.setter
    def data(self, value: Any) -> None:
        array = value.data if isinstance(value, Stored) else np.asarray(value)
        self.check("Counter", array)
        self._write(array)

    def check(self, op: str, array: Array) -> None:
        """Raises unless `array` is one integer."""
        if array.shape != () or array.dtype.kind not in "iu":
            raise DTypeError(
                message(op, "a count is one integer", {"value": array.dtype}, "int64 of shape ()")
            )

    def cast(self, dtype: DType | np.dtype[Any]) -> None:
        """A count keeps its type."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self.data.astype(np.int64 if dtype is None else dtype)
