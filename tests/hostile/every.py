# SPDX-License-Identifier: Apache-2.0
"""A parameter that a test goes through by itself: thousands of small cases, one test a function.

pytest and its workers take two milliseconds a test, more than most of these cases. What failed is
said in a note of its error.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import wraps

import pytest


def every(**given: Iterable[object]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Calls the test with each value of the one parameter that is named."""
    ((name, values),) = given.items()

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @wraps(test)
        def run(**others: object) -> None:
            for value in values:
                try:
                    test(**others, **{name: value})
                except (Exception, pytest.fail.Exception) as error:
                    error.add_note(f"{name} = {value!r}")
                    raise

        signature = inspect.signature(test)
        left = [one for one in signature.parameters.values() if one.name != name]
        run.__signature__ = signature.replace(parameters=left)
        return run

    return decorate
