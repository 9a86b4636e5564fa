# SPDX-License-Identifier: Apache-2.0
"""Nets as PyTorch's two exporters and skl2onnx write them, at several opsets and batches.

The files of models/ come from make_models.py and hold what the source gave.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import lamella as lm

FOLDER = Path(__file__).parent / "models"
MODELS = sorted(path.name for path in FOLDER.glob("*.onnx"))


def test_all_are_there() -> None:
    # Five nets of each source; 4 + 3 forms of PyTorch's, 5 of scikit-learn's.
    assert len(MODELS) == 5 * 7 + 5 * 5


@pytest.mark.parametrize("name", MODELS)
def test_exported_models_give_the_source_s_outputs(name: str) -> None:
    net = lm.onnx.load(FOLDER / name)
    stored = np.load(FOLDER / f"{name.split('.')[0]}.npz")
    for batch in (1, 7, 64):
        results = net(stored[f"x_{batch}"])
        results = results if isinstance(results, tuple) else (results,)
        for number, got in enumerate(results):
            want = stored[f"y_{batch}_{number}"]
            if want.dtype.kind != "f":
                np.testing.assert_array_equal(got, want)
                continue
            # 1e-5 of an output's own size, or of the largest one where sums cancel.
            scale = np.maximum(np.abs(want), np.abs(want).max() * 0.1)
            assert (np.abs(got.reshape(want.shape) - want) <= 1e-5 * scale).all()


@pytest.mark.parametrize("name", [n for n in MODELS if n.startswith("torch")])
def test_exported_models_are_one_program(name: str) -> None:
    net = lm.onnx.load(FOLDER / name)
    x = np.load(FOLDER / f"{name.split('.')[0]}.npz")["x_7"]
    lm.compile(net, x)
    assert sum(p.array.size for p in net.parameters()) > 0
