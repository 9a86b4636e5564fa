# SPDX-License-Identifier: Apache-2.0
"""The documented ways of saying no."""

from __future__ import annotations

from lamella.errors import DTypeError, ShapeError, UnsupportedError

REFUSALS = (ShapeError, DTypeError, UnsupportedError, IndexError, TypeError, ValueError)


def check_refusal(error: BaseException) -> None:
    """The text says what was wrong; lamella's own exceptions also what was got or expected."""
    text = str(error)
    assert len(text) > 10, repr(error)
    assert "internal" not in text.lower(), text
    if isinstance(error, ShapeError | DTypeError):
        assert ": " in text, text
        assert "got" in text or "expected" in text, text
