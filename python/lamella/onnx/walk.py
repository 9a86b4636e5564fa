# SPDX-License-Identifier: Apache-2.0
"""Running a plan inside a trace: the nodes in order, rules on known arrays and on tensors.

What is known is computed here and now, under an allowance of bytes; the rest becomes nodes of the
graph. A rule that cannot go on with a tensor raises NotOneProgram, and the model then runs in
stages (staged.py). Every error names the node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from lamella.nn.inline import note_operator
from lamella.onnx.plan import Entry, Plan
from lamella.onnx.rules.call import Allowance, Call, NeedsValue
from lamella.runtime.trace import current, scope

__all__ = ["NotOneProgram", "apply_rule", "titles", "walk"]


class NotOneProgram(UnsupportedError):
    """The model cannot run as one program: a node needs elements, or computes with integers."""


def walk(
    plan: Plan, env: dict[str, Any], training: bool, stored: Callable[[str], Any]
) -> list[Any]:
    """The outputs; env: the inputs by name; stored: parameters and buffers by name."""
    allowance, builder = Allowance(plan.folding_bytes), current().builder
    for name, array in plan.constants.items():
        env.setdefault(name, array)
    for name in (*plan.learnt, *plan.statistics):
        env[name] = stored(name)
    for entry, title in zip(plan.entries, titles(plan.entries), strict=True):
        operands = [env[name] if name else None for name in entry.inputs]
        start = builder.count
        try:
            with scope(_place(entry, title)):
                results = apply_rule(entry, operands, allowance, training)
        except (NeedsValue, DTypeError, UnsupportedError) as error:
            if all(operand is None or isinstance(operand, np.ndarray) for operand in operands):
                raise
            raise NotOneProgram(
                message(
                    entry.label,
                    "this model runs in stages, not as one program inside another",
                    None,
                    "",
                    str(error),
                )
            ) from error
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


def _place(entry: Entry, title: str) -> str:
    """The module that a node belongs to, where exporters say so: `fc1/Gemm`, `/act/Relu_1`."""
    above, _, last = title.rpartition("/")
    return above if above and last.rstrip("0123456789").rstrip("_") == entry.op else title


def apply_rule(
    entry: Entry, operands: Sequence[Any], allowance: Allowance, training: bool
) -> tuple[Any, ...]:
    """The outputs of one node; half floats never leave it."""
    while operands and operands[-1] is None:
        operands = operands[:-1]
    call = Call(
        entry.op,
        entry.version,
        entry.attributes,
        len(entry.outputs),
        operands,
        allowance,
        training,
    )
    try:
        with np.errstate(all="ignore"):
            found = entry.rule(call, *operands)
        results = found if isinstance(found, tuple) else (found,)
        results = tuple(
            np.asarray(result) if isinstance(result, np.generic) else result for result in results
        )
        call.spend(results)
    except (ShapeError, DTypeError, UnsupportedError) as error:
        locate(error, entry.label)
        raise
    except FormatError:
        raise
    except (
        AttributeError,
        IndexError,
        OverflowError,
        TypeError,
        ValueError,
        ZeroDivisionError,
    ) as error:
        # A node without an operand that its operator needs, or NumPy's own refusal.
        text = str(error).partition("\n")[0]
        raise FormatError(
            message(entry.label, "does not fit its operator", _shapes(operands), "", text)
        ) from error
    if any(entry.outputs[len(results) :]):
        raise FormatError(
            message(entry.label, "asks for more outputs than there are",
                    {"outputs": len(entry.outputs)}, str(len(results)))
        )  # fmt: skip
    return results


def _shapes(operands: Sequence[Any]) -> Mapping[str, object]:
    return {
        f"operand {position}": "none" if operand is None else tuple(operand.shape)
        for position, operand in enumerate(operands)
    }
