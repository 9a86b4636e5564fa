# SPDX-License-Identifier: Apache-2.0
"""Import and a forward pass on an old processor: qemu-x86_64-static -cpu Nehalem python smoke.py.

No pytest and no test library: under emulation each import counts. Exits with 0 when the baseline
instruction set was chosen and computed the right numbers; an instruction that the emulated
processor lacks ends the process with SIGILL.
"""

from __future__ import annotations

import sys

import numpy as np

import lamella as lm
import lamella.functional as F
from lamella import nn


def main() -> None:
    from lamella import _core

    names = _core.isas()
    print(f"instruction sets: {names}, chosen: {_core.isa()}")
    if "--expect" in sys.argv:
        wanted = sys.argv[sys.argv.index("--expect") + 1]
        assert _core.isa() == wanted, f"chosen {_core.isa()}, expected {wanted}"

    rng = np.random.default_rng(70)
    w0, b0 = rng.integers(-4, 5, (33, 19)), rng.integers(-4, 5, 33)
    w1, b1 = rng.integers(-4, 5, (5, 33)), rng.integers(-4, 5, 5)
    net = nn.Sequential(nn.Linear(19, 33), nn.ReLU(), nn.Linear(33, 5))
    arrays = {"0.weight": w0, "0.bias": b0, "2.weight": w1, "2.bias": b1}
    net.load_state_dict({name: value.astype(np.float32) for name, value in arrays.items()})
    x = rng.integers(-4, 5, (7, 19))
    want = np.maximum(x @ w0.T + b0, 0) @ w1.T + b1
    got = net(x.astype(np.float32))
    # Whole numbers: any order of summation is exact.
    assert np.array_equal(got, want), f"got {got}, want {want}"

    points = np.linspace(-9, 9, 101)
    for dtype in (np.float32, np.float64):
        near = {"rtol": 4 * np.finfo(dtype).eps, "atol": 0}
        p = points.astype(dtype)
        np.testing.assert_allclose(F.exp(p), np.exp(p.astype(np.float64)), **near)
        np.testing.assert_allclose(F.tanh(p), np.tanh(p.astype(np.float64)), **near)
        q = F.softmax(p[None], -1).sum()
        assert abs(q - 1) < 1e-5, q
    y = F.layer_norm(points.astype(np.float32)[None], (101,))
    assert abs(float(y.mean())) < 1e-5
    assert abs(float(y.std()) - 1) < 1e-3
    assert 5e-324 * 1.0 != 0.0, "subnormal numbers are flushed"
    print(f"lamella {lm.__version__}: forward pass is right")


if __name__ == "__main__":
    main()
