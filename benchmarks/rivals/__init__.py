# SPDX-License-Identifier: Apache-2.0
"""How each library does the work of a task, at its best setting.

A rival is one class in one file. It imports its library in `__init__` only (an ImportError there
means "not installed") and has a method for each task family that it offers. The method takes the
arrays of the task and returns a call without arguments, ready to be timed, whose result
`numpy.asarray` can read (or a list of such), or None when the library does not offer that task.
"""

from __future__ import annotations

import importlib

# Name of the rival -> module and class. The order is that of the result table.
RIVALS = {
    "lamella": (".lamella", "Lamella"),
    "numpy": (".numpy", "NumPy"),
    "torch": (".torch", "Torch"),
    "torch.compile": (".torch", "TorchCompiled"),
    "onnxruntime": (".onnxruntime", "OnnxRuntime"),
    "onnxruntime bound": (".onnxruntime", "OnnxRuntimeBound"),
    "onnxruntime no spinning": (".onnxruntime", "OnnxRuntimeSleeping"),
    "openvino": (".openvino", "OpenVino"),
    "jax": (".jax", "Jax"),
    "scikit-learn": (".sklearn", "ScikitLearn"),
}

# Those that run ONNX files.
FILES = ("lamella", *(name for name in RIVALS if name.startswith(("onnxruntime", "openvino"))))


def load(name: str, threads: int) -> object:
    """The rival of this name, set to `threads` threads; ImportError when it is not installed."""
    module, cls = RIVALS[name]
    return getattr(importlib.import_module(module, __name__), cls)(threads)
