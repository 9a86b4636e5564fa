# SPDX-License-Identifier: Apache-2.0
"""What is fuzzed of the ONNX door, and what must hold: any bytes, lamella's exceptions only.

`wire` is the reader with the arrays of its tensors, external ones included; `door` is `load`, and
one call where the bytes are a model. Reading may take 1 s and 20 ns a byte, and three times the
file and 64 MiB. A call may take what its model asks for: it is held to the same limits where the
traced graph shows little work. Run as a program it judges one file exactly, in a process of its
own: `python tests/fuzz/targets.py door FILE`.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from math import prod
from pathlib import Path

import numpy as np

from lamella.errors import DTypeError, FormatError, ShapeError, UnsupportedError
from lamella.onnx import tensors
from lamella.onnx.model import TensorProto, read
from lamella.onnx.network import Model, TensorInfo, load
from lamella.runtime.session import trace

__all__ = ["REFUSALS", "TARGETS", "arguments", "memory_limit", "peak_bytes", "time_limit"]

REFUSALS = (FormatError, UnsupportedError, ShapeError, DTypeError)

# Elements of one input, and bytes of all results of a call that is held to the limits.
_ELEMENTS, _LITTLE = 4096, 1 << 20
# What an open extent is.
_OPEN = 2

_folder: str | None = None


def time_limit(size: int) -> float:
    """Seconds that reading a file of this size may take."""
    return 1.0 + 20e-9 * size


def memory_limit(size: int) -> int:
    """Bytes that reading a file of this size may take."""
    return 3 * size + (64 << 20)


def wire(data: bytes) -> None:
    """Reads messages, and makes arrays of the graph's tensors wherever their elements lie."""
    global _folder
    if _folder is None:
        _folder = tempfile.mkdtemp(prefix="lamella-fuzz-")
        (Path(_folder) / "data").write_bytes(bytes(64))
    found: list[TensorProto] = list(read(data).graph.initializers)
    for tensor in found:
        try:
            tensors.array(tensor, _folder)
        except REFUSALS:
            continue


def door(data: bytes) -> Callable[[], None] | None:
    """Loads a model; gives the call that may follow."""
    net = load(data)
    return lambda: call(net)


def call(net: Model) -> None:
    """One call on small inputs; IndexError is for indices that only running tells."""
    arrays = arguments(net.inputs)
    if arrays is None:
        return
    try:
        graph, _ = trace(net, arrays)
    except UnsupportedError:
        # In stages, or not at all: what it takes is known only afterwards.
        graph = None
    if graph is not None:
        sizes = [prod(out.type.shape) for node in graph.nodes for out in node.outputs]
        if 8 * sum(sizes) > _LITTLE:
            return
    try:
        net(*arrays)
    except (IndexError, MemoryError) as error:
        if isinstance(error, MemoryError) and graph is not None:
            raise


def arguments(inputs: tuple[TensorInfo, ...]) -> list[np.ndarray] | None:
    """Inputs of the declared types and shapes; None where they would be large."""
    made = []
    for number, info in enumerate(inputs):
        declared = (_OPEN, 4) if info.shape is None else info.shape
        shape = [extent if isinstance(extent, int) else _OPEN for extent in declared]
        room = prod(extent or 1 for extent in shape)
        if len(shape) > 64 or min(shape, default=0) < 0 or room > _ELEMENTS:
            return None
        dtype = info.dtype or np.dtype(np.float32)
        values = np.arange(number, number + prod(shape)) % 3
        # Integers are indices and sizes more often than not: 0 to 2; floats straddle zero.
        made.append((values if dtype.kind in "iub" else values - 0.5).astype(dtype).reshape(shape))
    return made


TARGETS: dict[str, Callable[[bytes], Callable[[], None] | None]] = {"wire": wire, "door": door}


def peak_bytes() -> int:
    """The most memory that this process has held since `forget_peak`."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def forget_peak() -> int:
    """Starts the peak anew (Linux); gives what is held now."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_bytes()


def judge(target: str, data: bytes) -> str:
    """What is wrong with how a target takes these bytes; "" for nothing."""
    # What is done once only, by the first call, is done now.
    with suppress(*REFUSALS):
        TARGETS[target](b"")
    held, start = forget_peak(), time.process_time()
    try:
        follow = TARGETS[target](data)
    except REFUSALS:
        follow = None
    seconds, grown = time.process_time() - start, peak_bytes() - held
    if seconds > time_limit(len(data)):
        return f"{seconds:.2f} s for {len(data)} bytes"
    if grown > memory_limit(len(data)):
        return f"{grown >> 20} MiB for {len(data)} bytes"
    if follow is not None:
        try:
            follow()
        except REFUSALS:
            return ""
    return ""


if __name__ == "__main__":
    fault = judge(sys.argv[1], Path(sys.argv[2]).read_bytes())
    print(fault or "within limits")
    sys.exit(1 if fault else 0)
