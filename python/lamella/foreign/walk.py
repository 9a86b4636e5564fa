# SPDX-License-Identifier: Apache-2.0
"""Running a plan inside a trace: the nodes in order, rules on known arrays and on tensors.

What is known is computed here and now, under an allowance of bytes; the rest becomes nodes of the
graph. Every error names the node.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lamella.errors import (
    DTypeError,
    FormatError,
    ShapeError,
    UnsupportedError,
    locate,
    message,
)
from lamella.foreign.call import Allowance, is_sizes
from lamella.foreign.plan import Entry, Plan
from lamella.ir.extent import plain
from lamella.nn.inline import note_operator
from lamella.runtime.trace import current, scope

__all__ = ["Watch", "apply_rule", "settled", "titles", "walk"]


class Watch:
    """Stands beside a walk: sees every node, may change its operands and word its faults.

    silent: whether the nodes are kept out of what summaries and profiles list.
    """

    silent = False

    def operands(self, number: int, entry: Entry, operands: list[Any]) -> list[Any]:
        """The operands that node `number` shall be given."""
        return operands

    def results(
        self, number: int, entry: Entry, operands: Sequence[Any], results: Sequence[Any]
    ) -> None:
        """What it gave."""

    def fault(
        self, number: int, entry: Entry, operands: Sequence[Any], error: Exception
    ) -> Exception:
        """What to raise for a FormatError or ShapeError of its rule."""
        return error


def walk(
    plan: Plan,
    env: dict[str, Any],
    training: bool,
    stored: Callable[[str], Any],
    watch: Watch | None = None,
) -> list[Any]:
    """The outputs; env: the inputs by name; stored: parameters and buffers by name."""
    allowance, builder = Allowance(plan.folding_bytes), current().builder
    given = frozenset(env)
    watch = watch or Watch()
    for name, copies in plan.copies.items():
        env.update((copy, env[name]) for copy in copies if name in given)
    for name, array in plan.constants.items():
        env.setdefault(name, array)
    for name in (*plan.learnt, *plan.statistics):
        if name not in env:
            env[name] = stored(name)
    for number, (entry, title) in enumerate(zip(plan.entries, titles(plan.entries), strict=True)):
        operands = [env[name] if name else None for name in entry.inputs]
        start = builder.count
        try:
            with scope(entry.place(title)):
                operands = watch.operands(number, entry, operands)
                results = apply_rule(entry, operands, allowance, training)
                watch.results(number, entry, operands, results)
        except (FormatError, ShapeError) as error:
            told = watch.fault(number, entry, operands, error)
            if told is error:
                raise
            raise told from error
        if not watch.silent:
            note_operator(title, entry.op, operands, results, start)
        env.update(zip(entry.outputs, results, strict=False))
    return [env[output.name] for output in plan.outputs]


def titles(entries: Sequence[Entry]) -> list[str]:
    """A name for each node, fit to be printed: its own, or its operator with a number."""
    found: dict[str, int] = {}
    names = []
    for entry in entries:
        shown = entry.name[:80].encode("unicode_escape").decode() or entry.op
        base = shown + ("..." if len(entry.name) > 80 else "")
        number = found.get(base, 0 if entry.name else 1)
        title = base if not number else f"{base}_{number}"
        while title in found:
            number += 1
            title = f"{base}_{number}"
        found[base] = number + 1
        found.setdefault(title, 1)
        names.append(title)
    return names


def apply_rule(
    entry: Entry, operands: Sequence[Any], allowance: Allowance, training: bool
) -> tuple[Any, ...]:
    """The outputs of one node; half floats never leave it.

    FormatError is for a node that does not keep its operator's definition. What else than errors of
    the package leaves a rule is a fault of ours: it stays what it is, and is told with the node.
    """
    while operands and operands[-1] is None:
        operands = operands[:-1]
    entry.rule.judge(entry.label, operands)
    if not entry.keeps_sizes:
        operands = [settled(operand, entry.label) for operand in operands]
    call = entry.call(operands, allowance, training)
    try:
        with np.errstate(all="ignore"):
            found = entry.rule.compute(call, *operands)
        results = found if isinstance(found, tuple) else (found,)
        results = tuple(map(_known, results))
        call.spend(results)
    except (ShapeError, DTypeError, UnsupportedError) as error:
        locate(error, entry.label)
        raise
    except FormatError:
        raise
    except Exception as error:
        shapes = [None if x is None else tuple(x.shape) for x in operands]
        error.add_note(f"in the rule of {entry.label}, with operands of shapes {shapes}")
        raise
    if any(entry.outputs[len(results) :]):
        raise FormatError(
            message(entry.label, "asks for more outputs than there are",
                    {"outputs": len(entry.outputs)}, str(len(results)))
        )  # fmt: skip
    return results


def settled(operand: Any, label: str) -> Any:
    """An operand with plain numbers for free extents, which the trace then notes."""
    extents = is_sizes(operand)
    if extents is None:
        return operand
    extents.reason(f"{label} computes with sizes")
    return np.array([plain(n) for n in operand.reshape(-1)], np.int64).reshape(operand.shape)


def _known(result: Any) -> Any:
    """A result as an array, of int64 if no extent in it is free."""
    if isinstance(result, np.generic | int):
        return np.asarray(result)
    if isinstance(result, np.ndarray) and result.dtype == object and result.size:
        if all(type(n) is int for n in result.reshape(-1)):
            return result.astype(np.int64)
    return result
