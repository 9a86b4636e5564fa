# SPDX-License-Identifier: Apache-2.0
"""ONNX models as networks: read with NumPy alone, run, trained, written again.

`load` reads a file, `save` writes a network; `Backend` is the interface of ONNX's test suite and
the one name here that needs the onnx package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lamella.habits import unknown
from lamella.onnx.network import Model, TensorInfo, load
from lamella.onnx.writer import encode, save

if TYPE_CHECKING:
    from lamella.onnx.backend import Backend as Backend

__all__ = ["Model", "TensorInfo", "encode", "load", "save"]


def __getattr__(name: str) -> Any:
    if name == "Backend":
        from lamella.onnx.backend import Backend

        return Backend
    raise unknown("module 'lamella.onnx'", "onnx", name)
