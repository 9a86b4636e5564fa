# SPDX-License-Identifier: Apache-2.0
"""The four exceptions of lamella and the one formatter of their texts.

Every text has the form `<op>: <rule>; got <name>=<value>, ...; expected <...>. <what to do>`, and
the tracer adds ` (at <module path>)`. Each class is also the built-in a NumPy user would catch.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["DTypeError", "FormatError", "ShapeError", "UnsupportedError", "locate", "message"]


class ShapeError(ValueError):
    """Shapes, axes or sizes that do not fit each other."""


class DTypeError(TypeError):
    """An element type that the operation does not take."""


class UnsupportedError(NotImplementedError):
    """Something lamella knows of and does not do."""


class FormatError(ValueError):
    """A file or foreign object that does not keep its own format's rules."""


def message(
    op: str,
    rule: str,
    got: Mapping[str, object] | None = None,
    expected: str = "",
    advice: str = "",
) -> str:
    """Formats one error text; `got` maps argument names to the shapes or dtypes found."""
    text = f"{op}: {rule}"
    if got:
        text += "; got " + ", ".join(f"{name}={value}" for name, value in got.items())
    if expected:
        text += f"; expected {expected}"
    if advice:
        text += f". {advice}"
    return text


def locate(error: Exception, path: str) -> None:
    """Adds ` (at path)` to the text of one of the exceptions above, once."""
    if not path or not isinstance(error, ShapeError | DTypeError | UnsupportedError):
        return
    if len(error.args) != 1 or getattr(error, "path", None) is not None:
        return
    error.args = (f"{error.args[0]} (at {path})",)
    error.path = path  # type: ignore[union-attr]
