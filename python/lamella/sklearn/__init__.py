# SPDX-License-Identifier: Apache-2.0
"""The door to scikit-learn: its estimators trained by lamella, its fitted ones as networks.

scikit-learn is imported when something of it is needed: by MLPClassifier and MLPRegressor when
they are first named, as they are subclasses of its classes; by functions when they are called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lamella.sklearn.convert import FittedClassifier, FittedRegressor, from_sklearn

if TYPE_CHECKING:
    from lamella.sklearn.back import to_sklearn
    from lamella.sklearn.classifier import MLPClassifier
    from lamella.sklearn.regressor import MLPRegressor

__all__ = [
    "FittedClassifier",
    "FittedRegressor",
    "MLPClassifier",
    "MLPRegressor",
    "from_sklearn",
    "to_sklearn",
]

_LATER = {"MLPClassifier": "classifier", "MLPRegressor": "regressor", "to_sklearn": "back"}


def __getattr__(name: str) -> Any:
    import importlib

    if name not in _LATER:
        raise AttributeError(f"module 'lamella.sklearn' has no attribute {name!r}")
    module = importlib.import_module(f"lamella.sklearn.{_LATER[name]}")
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
