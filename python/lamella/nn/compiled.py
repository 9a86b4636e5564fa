# SPDX-License-Identifier: Apache-2.0
"""From a module's call to a program: what `Module._dispatch` does.

Inside a trace a call runs forward in place, under the module's name. Outside, it finds or compiles
the program of this input signature and of this structure, and teaches it to the C++ base class,
which answers the next such call alone. The structure of a module is everything that its forward can
depend on: the tree, every attribute, which storage each parameter has and whether it is trained;
values are not part. Two programs of one structure and signature may differ in what they have taken
of Python beside it, which the core compares at every call.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from lamella import _core
from lamella.ir.types import Array, DType
from lamella.nn.arguments import Signature, signature
from lamella.nn.inline import inline
from lamella.nn.structure import difference, dtype_of, fingerprint
from lamella.runtime.session import Compiled, compile_call
from lamella.runtime.trace import current_trace
from lamella.runtime.variants import Recompilations, Variants

if TYPE_CHECKING:
    from lamella.nn.module import Module

__all__ = ["Cache", "clear", "dispatch"]

# Structures kept for a module (training and inference, and what is tried out), and signatures for
# each: more than these in turn are compiled again and again.
_STRUCTURES = 4
_SIGNATURES = 32

_owners: weakref.WeakSet[Any] = weakref.WeakSet()


def dispatch(module: Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Answers a call that the C++ base class does not know."""
    if current_trace() is not None:
        return inline(module, inputs, named)
    return module._compiled.call(module, inputs, named)


class _Programs:
    """The programs of one structure of a module, by input signature, the latest last.

    structure: its key; dtype: what floating inputs are cast to; keep: the objects whose identity
    the key contains, so that no other object can take their place.
    """

    __slots__ = ("by_signature", "dtype", "keep", "structure")

    def __init__(
        self, structure: tuple[Hashable, ...], dtype: DType | None, keep: list[Any]
    ) -> None:
        self.structure = structure
        self.dtype = dtype
        self.keep = keep
        self.by_signature: OrderedDict[Hashable, Variants] = OrderedDict()


class Cache:
    """The programs of one module, by structure and input signature.

    reached: modules outside the tree that forward reads, whose structure counts too.
    """

    __slots__ = ("current", "epoch", "lock", "reached", "recompilations", "structures")

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.structures: OrderedDict[Hashable, _Programs] = OrderedDict()
        self.current = _Programs((), None, [])
        self.epoch = -1
        self.reached: list[Module] = []
        self.recompilations: Recompilations | None = None

    def call(self, module: Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Runs the program of this call, compiling it first if need be."""
        out = named.pop("out", None)
        with self.lock:
            compiled, given = self._prepare(module, inputs, named)
            if given.direct:
                module._remember(
                    (*inputs, *named.values()),
                    tuple(named),
                    compiled.program,
                    compiled.returns,
                    watch=compiled.watched.native,
                )
        return compiled.run(given.arrays, op=type(module).__name__, out=out)

    def find(self, module: Module, *inputs: Any, **named: Any) -> tuple[Compiled, list[Array]]:
        """The program of a call, compiled if need be, and the arrays that it would run on."""
        with self.lock:
            compiled, given = self._prepare(module, inputs, named)
        return compiled, given.arrays

    def _prepare(
        self, module: Module, inputs: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[Compiled, Signature]:
        self._refresh(module)
        given = signature(module, inputs, named, self.current.dtype)
        return self._find(module, given), given

    def _refresh(self, module: Module) -> None:
        """Finds the programs of the structure that the module has now."""
        epoch = _core.structure_epoch()
        if epoch == self.epoch:
            return
        structure, keep = fingerprint([module, *self.reached])
        programs = self.structures.get(structure)
        if programs is None:
            programs = _Programs(structure, dtype_of(module), keep)
            self.structures[structure] = programs
            if self.current.by_signature:
                self._count(module).note(difference(self.current.structure, structure))
            if len(self.structures) > _STRUCTURES:
                self.structures.popitem(last=False)
        self.structures.move_to_end(structure)
        if programs is not self.current:
            module._forget()
            self.current = programs
        module._validate()
        self.epoch = epoch if _core.structure_epoch() == epoch else -1

    def _find(self, module: Module, given: Signature) -> Compiled:
        variants = self.current.by_signature.get(given.key)
        compiled = None if variants is None else variants.find()
        if compiled is None:
            _owners.add(module)
            # Until the trace is over, no call of a module may be answered without coming here.
            _core.touch_structure()
            positional, keywords = given.arguments()
            earlier = () if variants is None else variants.programs
            compiled = compile_call(module, positional, keywords, structured=True, earlier=earlier)
            known = {id(one) for one in (*self.reached, *module.modules())}
            self.reached += [one for one in compiled.watched.modules if id(one) not in known]
            # forward may have set attributes: the program belongs to the structure behind it.
            self._refresh(module)
            variants = self.current.by_signature.setdefault(given.key, Variants(given.keep))
            variants.add(compiled, self._count(module))
            if len(self.current.by_signature) > _SIGNATURES:
                self.current.by_signature.popitem(last=False)
        self.current.by_signature.move_to_end(given.key)
        return compiled

    def _count(self, module: Module) -> Recompilations:
        if self.recompilations is None:
            self.recompilations = Recompilations(type(module).__name__)
        return self.recompilations

    def clear(self) -> None:
        """Forgets every program."""
        with self.lock:
            self.structures.clear()
            self.current, self.epoch = _Programs((), None, []), -1
            self.reached = []


def clear() -> None:
    """Forgets the programs of all modules."""
    for module in list(_owners):
        module._forget()
        module._compiled.clear()


def _renew_locks() -> None:
    # In a forked child nobody is left to release a lock that another thread held.
    for module in list(_owners):
        module._compiled.lock = threading.RLock()


os.register_at_fork(after_in_child=_renew_locks)
