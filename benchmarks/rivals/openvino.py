# SPDX-License-Identifier: Apache-2.0
"""OpenVINO on ONNX files: set for latency, in float32, an infer request on shared arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..tasks.model import OnnxModel


class OpenVino:
    """A model compiled for the shapes of the task, its inputs set once; does whole models only."""

    def __init__(self, threads: int) -> None:
        import openvino

        self.openvino, self.threads = openvino, threads
        self.version = openvino.__version__

    def model(self, task: OnnxModel, arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
        core = self.openvino.Core()
        model = core.read_model(task.file())
        model.reshape({name: list(array.shape) for name, array in arrays.items()})
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            # Its default may compute in bfloat16 on processors that have it.
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": 1,
        }
        request = core.compile_model(model, "CPU", options).create_infer_request()
        for name, array in arrays.items():
            request.set_tensor(name, self.openvino.Tensor(array, shared_memory=True))
        answers = [one.data for one in request.output_tensors]

        def call() -> Any:
            request.infer()
            return answers

        return call
