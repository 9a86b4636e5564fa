# SPDX-License-Identifier: Apache-2.0
"""The tree of parameter names: dots in a file's names make modules that hold what lies below.

Files are not trusted: the levels and the parameters are counted before one is made, and a name that
the tree cannot have gets another.
"""

from __future__ import annotations

from lamella.errors import UnsupportedError, message
from lamella.nn.module import Module
from lamella.nn.parameter import Parameter, Stored

__all__ = ["check_tree", "place"]

# A name of more parts than this becomes one part: modules nest, and files are not trusted.
_MAX_PARTS = 16
# Parameters and modules cost some 25 us and 1 KB each.
_MAX_PLACES = 12_000


def check_tree(op: str, names: tuple[str, ...]) -> None:
    """Raises where parameters, and modules to hold them, would be more than models have."""
    levels: set[str] = set()
    for name in names:
        if len(levels) + len(names) > _MAX_PLACES:
            raise UnsupportedError(
                message(op, "more parameters than a model has", {"tensors": len(names)},
                        f"at most {_MAX_PLACES}, with the levels of their names")
            )  # fmt: skip
        parts = name.split(".")
        if len(parts) <= _MAX_PARTS:
            levels.update(".".join(parts[:depth]) for depth in range(1, len(parts)))


def place(module: Module, name: str, stored: Stored) -> str:
    """Puts storage into the tree under its dotted name; gives the name that it got."""
    parts = name.split(".")
    if len(parts) > _MAX_PARTS or not all(parts):
        parts = [name.replace(".", "_") or "_"]
    owner = module
    for depth, part in enumerate(parts[:-1]):
        child = owner._modules.get(part)
        if child is None:
            if hasattr(owner, part):
                parts = [*parts[:depth], "_".join(parts[depth:])]
                break
            child = _Group()
            owner.add_module(part, child)
        owner = child
    last = parts[-1]
    while hasattr(owner, last):
        last += "_"
    if isinstance(stored, Parameter):
        owner.register_parameter(last, stored)
    else:
        owner.register_buffer(last, stored)
    return ".".join((*parts[:-1], last))


class _Group(Module):
    """A level of the tree of names."""
