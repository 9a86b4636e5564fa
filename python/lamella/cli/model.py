# SPDX-License-Identifier: Apache-2.0
"""What the commands about ONNX models share: the model, and its inputs from files or by shape.

`--input x.npy` is the first input, `--input name=x.npy` that one, an `.npz` any number of them by
their names in it. `--shape 1,3,224,224` and `--shape name=...` stand for arrays of made-up values.
Whatever does not fit ends the command with one line.
"""

from __future__ import annotations

import argparse
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from lamella.benchmarks.tasks.model import examples, parse_shapes
from lamella.cli import Refused
from lamella.foreign.refusals import ExternalData
from lamella.onnx.network import Model, load

Arrays = dict[str, NDArray[np.generic]]


def add_model(parser: argparse.ArgumentParser) -> None:
    """The model, and where its tensors may be."""
    parser.add_argument("model", metavar="MODEL.onnx")
    parser.add_argument(
        "--external-data",
        action="store_true",
        help="tensors may lie in other files of the model's folder",
    )


def add_shapes(parser: argparse.ArgumentParser) -> None:
    """Inputs that nobody has in a file."""
    parser.add_argument(
        "--shape",
        nargs="+",
        default=[],
        metavar="NAME=N,N",
        help="extents that the file leaves open",
    )
    parser.add_argument(
        "--batch", type=int, default=1, metavar="N", help="the first axis where it is open; 1"
    )


@contextmanager
def refusals(command: str) -> Iterator[None]:
    """Ends the command where a file, a model or an array is not what it has to be."""
    try:
        yield
    except (
        OSError,
        EOFError,
        ValueError,
        TypeError,
        IndexError,
        NotImplementedError,
        MemoryError,
        zipfile.BadZipFile,
    ) as error:
        raise Refused(command, str(error) or type(error).__name__) from error


def open_model(options: argparse.Namespace) -> Model:
    """The model of the command line."""
    try:
        return load(options.model, external_data=options.external_data)
    except ExternalData as error:
        cure = "Pass --external-data, for a model that you trust with its folder"
        raise error.advised(cure) from None


def read_inputs(model: Model, words: list[str]) -> Arrays:
    """The arrays of `--input`, by the model's names and in its order."""
    found: Arrays = {}
    names = list(model.input_names)

    optional = [info.name for info in model.optional_inputs]

    def put(name: str, array: NDArray[np.generic]) -> None:
        if name not in names and name not in optional:
            raise ValueError(f"no input {name!r}; expected a name among {names}")
        if name in found:
            raise ValueError(f"input {name!r} is given twice")
        found[name] = array

    for word in words:
        name, path = split(word, names + optional)
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            free = [one for one in names if one not in found]
            if not name and not free:
                raise ValueError(f"{path} is one array too many; the inputs are {names}")
            put(name or free[0], loaded)
            continue
        with loaded:
            if name:
                raise ValueError(f"{path} holds several arrays; give it without {name}=")
            for one in loaded.files:
                put(one, loaded[one])
    if missing := [name for name in names if name not in found]:
        raise ValueError(f"no array for input {missing[0]!r}; expected --input {missing[0]}=FILE")
    return {name: found[name] for name in (*names, *optional) if name in found}


def made_inputs(model: Model, options: argparse.Namespace) -> Arrays:
    """Arrays of the shapes that the command line asks for."""
    if options.batch < 1:
        raise ValueError(f"no batch; got --batch {options.batch}; expected at least 1")
    shapes: dict[str, tuple[int, ...]] = {}
    for name, extents in parse_shapes(options.shape):
        free = [one for one in model.input_names if one not in shapes]
        shapes[name or (free[0] if free else "")] = extents
    return dict(examples(model, shapes, options.batch))


def split(word: str, names: list[str]) -> tuple[str, str]:
    """`name=path` where the name is one of the model's, and `path`."""
    for name in sorted(names, key=len, reverse=True):
        if word.startswith(f"{name}="):
            return name, word[len(name) + 1 :]
    name, equals, _ = word.partition("=")
    if equals and not os.path.exists(word) and os.sep not in name:
        raise ValueError(f"no name {name!r}; expected one among {names}")
    return "", word
