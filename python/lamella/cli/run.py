# SPDX-License-Identifier: Apache-2.0
"""`lamella run model.onnx --input x.npy --output y.npy`: a model on arrays in files.

Outputs are written like inputs are read: `y.npy` is the next output without a file, `name=y.npy`
that one, an `.npz` takes all of them by name. Without `--output` their types and shapes are shown.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from lamella.cli import model as models
from lamella.storage import npz


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `run`."""
    models.add_model(parser)
    parser.add_argument(
        "--input", nargs="+", default=[], metavar="[NAME=]FILE", help=".npy, or .npz by name"
    )
    parser.add_argument(
        "--output", nargs="+", default=[], metavar="[NAME=]FILE", help=".npy, or .npz for all"
    )


def run(options: argparse.Namespace) -> int:
    """Reads, runs and writes."""
    with models.refusals("run"):
        net = models.open_model(options)
        targets = _targets(list(net.output_names), options.output)
        result = net(**models.read_inputs(net, options.input))
        results = result if isinstance(result, tuple) else (result,)
        outputs = dict(zip(net.output_names, results, strict=True))
        for path, name in targets.items():
            if name is None:
                npz.write(path, outputs)
            else:
                np.save(path, outputs[name], allow_pickle=False)
    if not targets:
        for name, array in outputs.items():
            print(f"{name}: {array.dtype} {array.shape}")
    return 0


def _targets(names: list[str], words: list[str]) -> dict[str, str | None]:
    """Which output goes into which file; None: all of them."""
    targets: dict[str, str | None] = {}
    free = list(names)
    for word in words:
        name, path = models.split(word, names)
        kind = Path(path).suffix
        if kind not in (".npy", ".npz") or (kind == ".npz" and name):
            raise ValueError(f"cannot write {word!r}; expected NAME=FILE.npy, FILE.npy or FILE.npz")
        if path in targets:
            raise ValueError(f"{path} is given twice")
        if kind == ".npz":
            targets[path] = None
            continue
        if not name and not free:
            raise ValueError(f"{path} is one file too many; the outputs are {names}")
        targets[path] = name or free[0]
        if targets[path] in free:
            free.remove(targets[path] or "")
    return targets
