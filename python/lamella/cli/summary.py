# SPDX-License-Identifier: Apache-2.0
"""`lamella summary model.onnx`: shapes, parameters, multiply-accumulates and bytes.

The numbers are those of `Module.summary` for one shape of each input: what the file leaves open is
--batch or --shape. `--json` prints them for a program, with names and shapes, declared and counted.
"""

from __future__ import annotations

import argparse
import json

from lamella.cli import model as models


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `summary`."""
    models.add_model(parser)
    models.add_shapes(parser)
    parser.add_argument("--json", action="store_true", help="prints plain numbers for a program")


def run(options: argparse.Namespace) -> int:
    """Prints the summary."""
    with models.refusals("summary"):
        net = models.open_model(options)
        arrays = models.made_inputs(net, options)
        found = net.summary(*arrays.values())
    if options.json:
        inputs = {name: list(array.shape) for name, array in arrays.items()}
        declared = {info.name: info.shape for info in net.inputs}
        ends = {"inputs": inputs, "declared": declared, "outputs": list(net.output_names)}
        print(json.dumps({**ends, **found.as_dict()}, indent=1))
        return 0
    for info in net.inputs:
        shape = arrays[info.name].shape
        counted = "" if info.shape == shape else f", here {shape}"
        print(f"input {info}{counted}")
    for info in net.outputs:
        print(f"output {info}")
    print()
    print(found)
    return 0
