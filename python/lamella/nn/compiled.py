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
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

from lamella import _core
from lamella.ir.types import Array, DType
from lamella.nn.arguments import Signature, signature
from lamella.nn.inline import inline
from lamella.nn.structure import Fingerprint, difference, dtype_of, fingerprint
from lamella.runtime.families import Families, Found, Made, Sizes
from lamella.runtime.programs import Entry
from lamella.runtime.session import Compiled, Free, compile_call
from lamella.runtime.taken import Taken
from lamella.runtime.trace import current_trace
from lamella.runtime.variants import Recompilations

if TYPE_CHECKING:
    from lamella.nn.module import Module

__all__ = ["Cache", "clear", "dispatch"]

# Structures kept beside the present one that have parameters or buffers which the module has no
# more: what they keep alive counts nowhere.
_FOREIGN = 4
# How often a call is traced while other threads change what it reads; then it is not kept.
_ATTEMPTS = 4

_owners: weakref.WeakSet[Any] = weakref.WeakSet()


def dispatch(module: Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Answers a call that the C++ base class does not know."""
    if current_trace() is not None:
        return inline(module, inputs, named)
    return module._compiled.call(module, inputs, named)


class _Structure:
    """One structure of a module, and its programs by family and size.

    key: what it is; dtype: what floating inputs are cast to; keep: the objects whose identity the
    key contains, so that no other object can take their place; followed: what was in `states` when
    it was met last, and has to be so for it to be there again.
    """

    __slots__ = ("dtype", "families", "followed", "keep", "key", "states")

    def __init__(self, found: Fingerprint, dtype: DType | None, families: Families) -> None:
        self.key, self.keep, self.followed, self.states = found
        self.dtype = dtype
        self.families = families

    def is_here(self) -> bool:
        """Whether everything is as it was, which costs no look at any attribute."""
        return bool(self.followed) and _core.states_of(self.followed) == self.states


_NOWHERE = Fingerprint((), [], (), ())


class Cache:
    """The programs of one module, by structure and input signature.

    reached: modules outside the tree that forward reads, whose structure counts too.
    """

    __slots__ = ("current", "lock", "reached", "recompilations", "structures")

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.structures: OrderedDict[Hashable, _Structure] = OrderedDict()
        self.current = _Structure(_NOWHERE, None, Families(""))
        self.reached: list[Module] = []
        self.recompilations: Recompilations | None = None

    def call(self, module: Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Runs the program of this call, compiling it first if need be."""
        out = named.pop("out", None)
        with self.lock:
            found, given = self._prepare(module, inputs, named)
            kept = found.entry.kept
            if given.direct and kept:
                module._remember(
                    (*inputs, *named.values()),
                    tuple(named),
                    found.compiled.program,
                    found.compiled.returns,
                    watch=found.compiled.watched.native,
                    text=found.compiled.text,
                )
                if not found.entry.kept:
                    module._forget()
        return found.compiled.run(given.arrays, op=type(module).__name__, out=out)

    def find(self, module: Module, *inputs: Any, **named: Any) -> tuple[Compiled, list[Array]]:
        """The program of a call, compiled if need be, and the arrays that it would run on."""
        with self.lock:
            found, given = self._prepare(module, inputs, named)
        return found.compiled, given.arrays

    def exact(self, module: Module, *inputs: Any, **named: Any) -> tuple[Compiled, list[Array]]:
        """As `find`; the graph is of the call's sizes."""
        with self.lock:
            found, given = self._prepare(module, inputs, named, exact=True)
        return found.compiled, given.arrays

    def sizes(self, module: Module, *inputs: Any, **named: Any) -> Sizes | None:
        """What is known of the sizes of such calls."""
        with self.lock:
            _, given = self._prepare(module, inputs, named)
            return self.current.families.sizes(given.key, given.shapes)

    def _prepare(
        self,
        module: Module,
        inputs: tuple[Any, ...],
        named: dict[str, Any],
        exact: bool = False,
    ) -> tuple[Found, Signature]:
        self._refresh(module)
        given = signature(module, inputs, named, self.current.dtype)
        return self._find(module, given, exact), given

    def _refresh(self, module: Module) -> None:
        """Finds the programs of the structure that the module has now."""
        if self.current.followed and module._is_settled():
            return
        known = (one for one in reversed(self.structures.values()) if one.is_here())
        structure = next(known, None) or self._look(module)
        self.structures.move_to_end(structure.key)
        # Before it is settled again: what is remembered belongs to another structure.
        if structure is not self.current:
            module._forget()
            self.current = structure
            self._sort_out()
        # False where something has changed meanwhile: then the next call looks again.
        module._follow(structure.followed, structure.states)

    def _look(self, module: Module) -> _Structure:
        """The structure of all attributes as they are now."""
        found = fingerprint(module, self.reached)
        structure = self.structures.get(found.key)
        if structure is not None:
            structure.followed, structure.states = found.followed, found.states
            return structure
        families = Families(type(module).__name__, weakref.ref(module))
        structure = self.structures[found.key] = _Structure(found, dtype_of(module), families)
        if self.current.families:
            self._count(module).note(difference(self.current.key, found.key))
        return structure

    def _reach(self, module: Module, modules: Sequence[Module]) -> None:
        """Follows modules outside of the tree from now on."""
        known = {id(one) for one in (*self.reached, *module.modules())}
        fresh = [one for one in modules if id(one) not in known]
        if fresh:
            self.reached += fresh
            # What was met without them says nothing about them, and is not met again.
            self.structures.clear()
            self.current.followed = ()
            self._refresh(module)

    def _sort_out(self) -> None:
        """Drops structures without a program, and foreign ones beyond a few."""
        present = {id(one) for one in self.current.keep}
        foreign = 0
        for key, structure in reversed(list(self.structures.items())):
            if structure is self.current:
                continue
            is_foreign = not present.issuperset(map(id, structure.keep))
            foreign += is_foreign
            if not structure.families or (is_foreign and foreign > _FOREIGN):
                del self.structures[key]

    def _find(self, module: Module, given: Signature, exact: bool) -> Found:
        key, shapes, count = given.key, given.shapes, self._count(module)
        found = self.current.families.find(key, shapes, count, exact)
        if found is not None:
            return found
        _owners.add(module)
        positional, keywords = given.arguments()

        def compile(free: Free) -> Compiled:
            module._watch_others()
            return compile_call(
                module,
                positional,
                keywords,
                structured=True,
                earlier=self.current.families.earlier(key, shapes),
                taken=taken,
                free=free,
            )

        for _ in range(_ATTEMPTS):
            taken = Taken(module)
            self._reach(module, taken.reads.modules)
            families = self.current.families
            made = Made(compile(())) if exact else families.compile(key, shapes, compile)
            # forward may have set attributes: the program belongs to the structure behind it.
            self._refresh(module)
            # What other threads have set meanwhile it may have read before or behind that.
            if not module._was_disturbed():
                families = self.current.families
                return families.add(key, shapes, made, count, given.keep)
        # Right for this call, which those changes were made during, and for no other.
        passing = Entry(families.programs, key, None, 0)
        passing.kept = False
        return Found(made.compiled, passing)

    def _count(self, module: Module) -> Recompilations:
        if self.recompilations is None:
            self.recompilations = Recompilations(type(module).__name__)
        return self.recompilations

    def clear(self) -> None:
        """Forgets every program."""
        with self.lock:
            self.structures.clear()
            self.current = _Structure(_NOWHERE, None, Families(""))
            self.reached = []


def clear() -> None:
    """Forgets the programs of all modules."""
    for module in list(_owners):
        module._compiled.clear()
        module._forget()


def _renew_locks() -> None:
    # In a forked child nobody is left to release a lock that another thread held, nor to finish
    # what it was at.
    for module in list(_owners):
        cache = module._compiled
        if cache.lock.acquire(blocking=False):
            cache.lock.release()
            continue
        cache.lock = threading.RLock()
        module._forget()
        cache.clear()


os.register_at_fork(after_in_child=_renew_locks)
