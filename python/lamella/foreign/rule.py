# SPDX-License-Identifier: Apache-2.0
"""A rule: what an operator is in words, with the operands that it takes.

What a file gives an operator is judged here, before the rule runs: a node with other operands than
its operator's is malformed. What then goes wrong inside a rule is a fault of ours, and is raised as
what it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from lamella.errors import FormatError, message
from lamella.foreign.call import is_sizes

__all__ = ["LETTERS", "Rule"]

# The kinds of elements that the letters of `takes` stand for: f floating, i integers, b truth
# values, t text; n numbers, e all but text, a all.
LETTERS = {"f": "f", "i": "i", "b": "b", "t": "t", "n": "fi", "e": "fib", "a": "fibt"}
_NAMES = {"f": "floating", "i": "integers", "b": "truth values", "t": "text"}


Element: TypeAlias = "np.dtype[Any] | None"


@dataclass(frozen=True, slots=True)
class _Operand:
    kinds: str
    alike: bool
    mark: str
    optional: bool


@dataclass(frozen=True, slots=True)
class Rule:
    """compute(call, *operands) gives an operand, or a tuple of them.

    takes: a word for each operand, of the letters of its kinds of elements; behind them "?" if it
    may be left out, "*" if there may be any number of it, which is so of the last one only. Those
    in capitals have elements of one kind, integers of one width. A "!" is behind an operand whose
    elements have to be known when a program is made, because they decide shapes; an "@" behind one
    where that would be a program for each of its values: the node runs on arrays instead.
    gives: the element types of the results: the number of an operand, or NumPy's name of a type;
    those behind the last are as the last. A door may know better.
    arrays: it runs on arrays only, never in a program. shapes: the results are known without any
    element, from the operands' shapes.
    floats: programs have it for floating elements alone. moves: it only moves elements, so that
    integers of a width that programs do not have may pass.
    """

    compute: Callable[..., Any]
    takes: str = ""
    gives: str = "0"
    arrays: bool = False
    shapes: bool = False
    floats: bool = False
    moves: bool = False

    def mark(self, position: int) -> str:
        """What is behind an operand: "!", "@", or nothing."""
        wanted, _ = _parsed(self.takes)
        return wanted[min(position, len(wanted) - 1)].mark

    def elements(self, operands: Sequence[Element], outputs: int) -> list[Element]:
        """The element types of the results; None where nobody declares one."""
        words = self.gives.split()
        found: list[Element] = []
        for number in range(outputs):
            word = words[min(number, len(words) - 1)]
            if not word.isdigit():
                found.append(np.dtype(word))
            else:
                found.append(operands[int(word)] if int(word) < len(operands) else None)
        return found

    def judge(self, label: str, operands: Sequence[Any]) -> None:
        """Raises FormatError unless the operands are those of the operator."""
        wanted, open_end = _parsed(self.takes)
        least = sum(not one.optional for one in wanted)
        most = None if open_end else len(wanted)
        missing = [
            i for i, (one, x) in enumerate(zip(wanted, operands, strict=False))
            if x is None and not one.optional
        ]  # fmt: skip
        if len(operands) < least or (most is not None and len(operands) > most) or missing:
            left_out = {"left out": missing} if missing else {}
            raise FormatError(
                message(label, "has other operands than its operator",
                        {"operands": len(operands), **left_out},
                        f"{least}" if least == most else f"{least} or more, at most {most}"
                        if most is not None else f"{least} or more")
            )  # fmt: skip
        first = ""
        for position, x in enumerate(operands):
            one = wanted[min(position, len(wanted) - 1)]
            if x is None:
                continue
            found = _element(x)
            kind = _kind(found)
            if one.alike:
                first = first or found
                if first != found:
                    raise FormatError(
                        message(label, "has operands of several element types",
                                {f"operand {position}": found}, first)
                    )  # fmt: skip
            if kind not in one.kinds:
                raise FormatError(
                    message(label, "has an operand of elements that its operator does not take",
                            {f"operand {position}": found},
                            " or ".join(_NAMES[k] for k in one.kinds))
                )  # fmt: skip


@lru_cache(1024)
def _parsed(takes: str) -> tuple[tuple[_Operand, ...], bool]:
    """The operands, and whether the last one stands for any number."""
    found, open_end = [], False
    for word in takes.split():
        letters = word.rstrip("!@?*")
        alike = letters.isupper()
        assert not open_end, takes
        open_end = word.endswith("*")
        kinds = "".join(LETTERS[letter] for letter in letters.lower())
        found.append(
            _Operand(kinds, alike, word[len(letters) :].rstrip("?*"), word.endswith(("?", "*")))
        )
    return tuple(found), open_end


def _element(x: Any) -> str:
    """An operand's elements: their kind, of integers with their width."""
    if isinstance(x, np.ndarray | np.generic):
        if x.dtype.kind == "O":
            return "text" if is_sizes(np.asarray(x)) is None else "int64"
        dtype = x.dtype
    else:
        dtype = getattr(x, "element", x._type.dtype.numpy)
    return dtype.name if dtype.kind in "iu" else _NAMES[dtype.kind]


def _kind(element: str) -> str:
    """The letter of a kind of elements."""
    return next((letter for letter, name in _NAMES.items() if name == element), "i")
