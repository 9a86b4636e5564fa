# SPDX-License-Identifier: Apache-2.0
"""Padding: arrays with something around them, a constant or elements of their own.

Results are new arrays, never views of the inputs. `out=` is written to and returned.
"""

from __future__ import annotations

from lamella.errors import ShapeError, UnsupportedError, message
from lamella.ir.extent import index as whole
from lamella.ops import composites
from lamella.runtime.function import function
from lamella.runtime.tensor import Operand, Tensor, cat
from lamella.runtime.trace import current

__all__ = ["pad"]

_MODES = ("constant", "reflect", "replicate", "circular")


@function
def pad(
    input: Operand, pad: tuple[int, ...], mode: str = "constant", value: float | None = None
) -> Operand:
    """Surrounds with something, the last axis first: pad = (left, right, top, bottom, ...).

    With a, b, c, d and widths of 2: constant 0 0 a b c d 0 0, reflect c b a b c d c b, replicate
    a a a b c d d d, circular c d a b c d a b.

    Parameters: input, any shape; pad, two widths for each of the last axes, negative ones cut off;
    mode, 'constant', 'reflect' (widths below the extent), 'replicate' or 'circular' (widths up to
    the extent); value, of a constant, 0 by default. Returns: the larger array.
    Raises: ShapeError, DTypeError; UnsupportedError for another mode, or a value that it has no use
    for. Source: torch.nn.functional.pad.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.pad(np.array([1.0, 2.0, 3.0], np.float32), (1, 2), mode="reflect")
    array([2., 1., 2., 3., 2., 1.], dtype=float32)
    """
    if mode not in _MODES or (mode != "constant" and value is not None):
        raise UnsupportedError(
            message(
                "pad",
                "no such mode" if mode not in _MODES else "only a constant has a value",
                {"mode": mode, "value": value},
                "'constant', 'reflect', 'replicate' or 'circular'; value= for a constant alone",
            )
        )
    widths = tuple(whole(width) for width in pad)
    trace = current()
    if mode == "constant":
        return Tensor(composites.pad(trace.place, input._value(trace), widths, value or 0.0), trace)
    cuts = tuple(min(width, 0) for width in widths)
    cut = Tensor(composites.pad(trace.place, input._value(trace), cuts), trace)
    # A circle is closed behind what is cut off; elsewhere the whole of an axis is continued.
    y = cut if mode == "circular" else input
    for i in range(len(widths) // 2):
        front, back = max(widths[2 * i], 0), max(widths[2 * i + 1], 0)
        y = _continued(y, input.ndim - 1 - i, front, back, mode)
    if mode == "circular":
        return y
    return Tensor(composites.pad(trace.place, y._value(trace), cuts), trace)


def _continued(x: Operand, axis: int, front: int, back: int, mode: str) -> Operand:
    """x with elements of its own before and behind an axis."""
    extent = x.shape[axis]
    most = {"reflect": extent - 1, "circular": extent}.get(mode)
    if (front or back) and (extent == 0 or (most is not None and max(front, back) > most)):
        raise ShapeError(
            message(
                "pad",
                f"too wide for mode {mode!r}",
                {"input": x.shape, "axis": axis, "widths": (front, back)},
                "an axis that is not empty" if most is None else f"widths <= {most}",
            )
        )
    lead = (slice(None),) * axis

    def part(start: int, stop: int, step: int = 1) -> Operand:
        cut: Operand = x[(*lead, slice(start, stop))]
        return cut[(*lead, slice(None, None, -1))] if step < 0 else cut

    def spread(position: int, count: int) -> Operand:
        shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
        return part(position, position + 1).expand(shape)

    pieces = [x]
    if front:
        pieces.insert(
            0,
            part(1, front + 1, -1)
            if mode == "reflect"
            else spread(0, front)
            if mode == "replicate"
            else part(extent - front, extent),
        )
    if back:
        pieces.append(
            part(extent - 1 - back, extent - 1, -1)
            if mode == "reflect"
            else spread(extent - 1, back)
            if mode == "replicate"
            else part(0, back)
        )
    return cat(pieces, axis) if len(pieces) > 1 else x
