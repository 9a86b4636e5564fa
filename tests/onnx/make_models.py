# SPDX-License-Identifier: Apache-2.0
"""Makes models/: nets exported by PyTorch (both exporters) and skl2onnx, with expected outputs.

Run by hand, with torch, onnxscript, scikit-learn and skl2onnx installed; the files are committed,
so that the tests need none of these. NET.npz holds inputs and what the source gave for them at
batch 1, 7 and 64, NET.FORM.onnx the net as one exporter wrote it for one opset.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent / "models"
BATCHES = (1, 7, 64)
# PyTorch's older exporter ends at 20, the newer one begins at 18.
OPSETS = (11, 13, 17, 20)
DYNAMO_OPSETS = (18, 20, 23)
SKLEARN_OPSETS = (*OPSETS, 22)


def store(
    net: str, form: str, data: bytes, run: Callable[[np.ndarray], list[np.ndarray]], shape: Any
) -> None:
    rng = np.random.default_rng(1)
    arrays = {}
    for batch in BATCHES:
        x = rng.normal(size=(batch, *shape)).astype(np.float32)
        arrays[f"x_{batch}"] = x
        for number, y in enumerate(run(x)):
            arrays[f"y_{batch}_{number}"] = y
    (FOLDER / f"{net}.{form}.onnx").write_bytes(data)
    np.savez_compressed(FOLDER / f"{net}.npz", **arrays)
    print(net, form, len(data))


def torch_models() -> None:
    import io

    import torch
    from torch import nn

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 8)
            self.norm = nn.BatchNorm1d(8)

        def forward(self, x):
            return x + self.norm(self.second(torch.relu(self.first(x))))

    class FeedForward(nn.Module):
        """The feed-forward half of a transformer's encoder layer."""

        def __init__(self) -> None:
            super().__init__()
            self.norm, self.up, self.down = nn.LayerNorm(8), nn.Linear(8, 16), nn.Linear(16, 8)

        def forward(self, x):
            return self.norm(x + self.down(nn.functional.gelu(self.up(x))))

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)

        def forward(self, x):
            n, t, _ = x.shape
            q, k, v = self.qkv(x).reshape(n, t, 3, 2, 4).permute(2, 0, 3, 1, 4)
            weights = torch.softmax(q @ k.transpose(-1, -2) / 2.0, -1)
            return self.out((weights @ v).transpose(1, 2).reshape(n, t, 8))

    nets: dict[str, tuple[Any, tuple[int, ...]]] = {
        "mlp": (
            nn.Sequential(
                nn.Linear(8, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 3), nn.Softmax(1)
            ),
            (8,),
        ),
        "autoencoder": (
            nn.Sequential(nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 2), nn.SiLU(), nn.Linear(2, 8),
                          nn.Sigmoid()),
            (8,),
        ),
        "residual": (Residual(), (8,)),
        "feed_forward": (FeedForward(), (5, 8)),
        "attention": (Attention(), (5, 8)),
    }  # fmt: skip
    for name, (net, shape) in nets.items():
        torch.manual_seed(0)
        net = net.eval()
        example = torch.zeros(2, *shape)

        def run(x: np.ndarray, net: Any = net) -> list[np.ndarray]:
            with torch.no_grad():
                return [net(torch.from_numpy(x)).numpy()]

        for opset in OPSETS:
            file = io.BytesIO()
            torch.onnx.export(net, (example,), file, opset_version=opset, dynamo=False,
                              input_names=["x"], dynamic_axes={"x": {0: "batch"}})  # fmt: skip
            store(f"torch_{name}", f"script_{opset}", file.getvalue(), run, shape)
        batch = torch.export.Dim("batch", min=1)
        for opset in DYNAMO_OPSETS:
            program = torch.onnx.export(net, (example,), dynamo=True, opset_version=opset,
                                        dynamic_shapes=({0: batch},))  # fmt: skip
            # Without the exporter's notes on source lines, which hold paths of a machine.
            model = program.model_proto
            bare(model)
            store(f"torch_{name}", f"dynamo_{opset}", model.SerializeToString(), run, shape)


def bare(model: Any) -> None:
    """Drops what describes rather than computes."""
    del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]


def sklearn_models() -> None:
    from skl2onnx import to_onnx
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer, StandardScaler

    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 6)).astype(np.float32)
    target = x @ rng.normal(size=(6, 3))
    models = {
        "classifier": MLPClassifier((8,), max_iter=40, random_state=0).fit(x, target.argmax(1)),
        "binary": MLPClassifier((8,), max_iter=40, random_state=0).fit(x, target[:, 0] > 0),
        "regressor": MLPRegressor(
            hidden_layer_sizes=(8, 4), activation="tanh", max_iter=40, random_state=0
        ).fit(x, target),
        "pipeline": make_pipeline(
            StandardScaler(), MLPClassifier((8,), max_iter=40, random_state=0)
        ).fit(x, target.argmax(1)),
        "normalized": make_pipeline(
            Normalizer(),
            MLPRegressor(
                hidden_layer_sizes=(8,), activation="logistic", max_iter=40, random_state=0
            ),
        ).fit(x, target),
    }  # fmt: skip
    for name, fitted in models.items():
        classifies = hasattr(fitted, "predict_proba")
        options = {"zipmap": False} if classifies else {}

        def run(x: np.ndarray, fitted: Any = fitted, both: bool = classifies) -> list[np.ndarray]:
            answer = np.asarray(fitted.predict(x))
            if not both:
                return [answer.astype(np.float32)]
            return [answer.astype(np.int64), fitted.predict_proba(x).astype(np.float32)]

        for opset in SKLEARN_OPSETS:
            model = to_onnx(fitted, x[:1], target_opset={"": opset, "ai.onnx.ml": 3},
                            options=options or None)  # fmt: skip
            store(f"sklearn_{name}", f"skl2onnx_{opset}", model.SerializeToString(), run, (6,))


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sklearn_models()
        torch_models()
