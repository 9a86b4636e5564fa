# SPDX-License-Identifier: Apache-2.0
"""A net's input and its target as the arguments of one call, and back.

The quick call of a module knows arrays and numbers, and would leave tuples to Python.
"""

from __future__ import annotations

from typing import Any

__all__ = ["gathered", "spread"]


def spread(x: Any, y: Any) -> tuple[Any, ...]:
    """x and y as arguments; tuples array by array behind their lengths, -1 for what is none."""
    if type(x) is tuple:
        return (len(x), len(y), *x, *y) if type(y) is tuple else (len(x), -1, *x, y)
    return (-1, len(y), x, *y) if type(y) is tuple else (x, y)


def gathered(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The tuples that `spread` took apart, and what follows them."""
    if type(arguments[0]) is not int:
        return arguments
    (in_x, in_y), rest = arguments[:2], list(arguments[2:])
    taken = []
    for length in (in_x, in_y):
        items = [rest.pop(0) for _ in range(max(length, 1))] if length else []
        taken.append(tuple(items) if length >= 0 else items[0])
    return (*taken, *rest)
