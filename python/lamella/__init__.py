# SPDX-License-Identifier: Apache-2.0
"""lamella: neural-network layers on the CPU, at the speed the CPU has.

>>> import numpy as np, lamella as lm
>>> from lamella import nn, functional as F
>>> net = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
>>> net(np.zeros((1, 784), np.float32)).shape
(1, 10)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lamella import loading as loading  # before anything that imports _core

# isort: split
with loading.uncollected():
    from lamella import functional, nn
    from lamella._core import build_info as _build_info
    from lamella.config import (
        clear_cache,
        config,
        get_cache_bytes,
        get_num_threads,
        manual_seed,
        set_cache_bytes,
        set_num_threads,
        show_config,
    )
    from lamella.errors import DTypeError, FormatError, ShapeError, UnsupportedError
    from lamella.habits import unknown
    from lamella.runtime.function import function
    from lamella.runtime.session import Session, compile

if TYPE_CHECKING:
    from lamella import optim, train
    from lamella.nn.explain import Explanation, explain
    from lamella.nn.summary import summary
    from lamella.runtime.profile import Profile, profile
    from lamella.storage.files import load, save
    from lamella.train.fit import fit
    from lamella.train.gradients import gradients
    from lamella.train.step import TrainStep

__version__: str = _build_info()["version"]

__all__ = [
    "DTypeError",
    "Explanation",
    "FormatError",
    "Profile",
    "Session",
    "ShapeError",
    "TrainStep",
    "UnsupportedError",
    "__version__",
    "clear_cache",
    "compile",
    "config",
    "explain",
    "fit",
    "function",
    "functional",
    "get_cache_bytes",
    "get_num_threads",
    "gradients",
    "load",
    "manual_seed",
    "nn",
    "optim",
    "profile",
    "save",
    "set_cache_bytes",
    "set_num_threads",
    "show_config",
    "summary",
    "train",
]

# Opened when first named: the doors import foreign libraries, and a process that only predicts
# shall not wait for the rest.
_DOORS = ("onnx", "sklearn")
_ROOMS = ("optim", "train")
_LATER = {
    "Explanation": "nn.explain",
    "Profile": "runtime.profile",
    "TrainStep": "train.step",
    "explain": "nn.explain",
    "fit": "train.fit",
    "gradients": "train.gradients",
    "load": "storage.files",
    "profile": "runtime.profile",
    "save": "storage.files",
    "summary": "nn.summary",
}


def __getattr__(name: str) -> Any:
    import importlib

    if name in _DOORS or name in _ROOMS:
        return importlib.import_module(f"lamella.{name}")
    if name in _LATER:
        module = importlib.import_module(f"lamella.{_LATER[name]}")
        value = globals()[name] = getattr(module, name)
        return value
    raise unknown("module 'lamella'", "lamella", name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_DOORS})
