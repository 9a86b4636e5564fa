# SPDX-License-Identifier: Apache-2.0
"""Programs of one step on bytes: products, quantisation and its inverse.

As in programs.py: straight from the core, inputs in the order given.
"""

from __future__ import annotations

import numpy as np

from lamella import _core


def integer_product(
    kinds: tuple[str, str],
    m: int,
    n: int,
    k: int,
    *,
    transpose: tuple[bool, bool] = (False, False),
    zeros: bool = False,
    epilogue: bool = False,
    constant: np.ndarray | None = None,
) -> _core.Program:
    """y = (x - x_zero) @ (w - w_zero) of bytes; with an epilogue gelu(y * scale + bias) as float32.

    Inputs: x, w unless it is a constant, then a zero point a row and a column, a scale a column and
    a bias where they are asked for.
    """
    shapes = [(k, m) if transpose[0] else (m, k), (n, k) if transpose[1] else (k, n)]
    inputs = [(kinds[0], shapes[0])] + ([(kinds[1], shapes[1])] if constant is None else [])
    inputs += [(kinds[0], (m,)), (kinds[1], (n,))] if zeros else []
    inputs += [("float32", (n,)), ("float32", (n,))] if epilogue else []
    result = ("float32" if epilogue else "int32", (m, n))
    builder = _core.ProgramBuilder(inputs=inputs, outputs=[result])
    slots = [builder.input(i) for i in range(len(inputs))]
    if constant is not None:
        slots.insert(1, builder.constant(constant))
    names = ["x", "w"] + ["x_zero", "w_zero"] * zeros + ["scale", "bias"] * epilogue
    spec = _core.IntegerProductSpec(
        x=kinds[0],
        w=kinds[1],
        batch=(),
        m=m,
        n=n,
        k=k,
        x_batch=(),
        x_row=1 if transpose[0] else k,
        x_k=m if transpose[0] else 1,
        w_batch=(),
        w_k=1 if transpose[1] else n,
        w_col=k if transpose[1] else 1,
        w_constant=constant is not None,
        x_zero_rows=zeros,
        w_zero_columns=zeros,
        scale_columns=epilogue,
        activation="gelu" if epilogue else "",
    )
    builder.add(spec, **dict(zip(names, slots, strict=True)), y=builder.output(0))
    return builder.build()


def quantize(dtype: str, kind: str, shape: tuple[int, int], columns: bool) -> _core.Program:
    """By one scale, or one a column; inputs x, scale and zero point."""
    rows, n = shape
    numbers = (n,) if columns else ()
    inputs = [(dtype, shape), (dtype, numbers), (kind, numbers)]
    builder = _core.ProgramBuilder(inputs=inputs, outputs=[(kind, shape)])
    sizes = {"outer": rows, "axis": n, "inner": 1, "axis_step": 1}
    spec = _core.QuantizeSpec(
        dtype=dtype, to=kind, **(sizes if columns else {"outer": 1, "axis": 1, "inner": rows * n})
    )
    x, scale, zero = (builder.input(i) for i in range(3))
    builder.add(spec, x=x, scale=scale, zero=zero, y=builder.output(0))
    return builder.build()


def dequantize(dtype: str, kind: str, shape: tuple[int, int], columns: bool) -> _core.Program:
    """The same back."""
    rows, n = shape
    numbers = (n,) if columns else ()
    inputs = [(kind, shape), (dtype, numbers), (kind, numbers)]
    builder = _core.ProgramBuilder(inputs=inputs, outputs=[(dtype, shape)])
    sizes = {"outer": rows, "axis": n, "inner": 1, "axis_step": 1}
    if not columns:
        sizes = {"outer": 1, "axis": 1, "inner": rows * n}
    spec = _core.DequantizeSpec(of=kind, dtype=dtype, **sizes)
    x, scale, zero = (builder.input(i) for i in range(3))
    builder.add(spec, x=x, scale=scale, zero=zero, y=builder.output(0))
    return builder.build()


def dynamic_quantize(n: int) -> _core.Program:
    """x as uint8, its scale and its zero point."""
    builder = _core.ProgramBuilder(
        inputs=[("float32", (n,))], outputs=[("uint8", (n,)), ("float32", ()), ("uint8", ())]
    )
    y, scale, zero = (builder.output(i) for i in range(3))
    spec = _core.DynamicQuantizeSpec(count=n)
    builder.add(spec, x=builder.input(0), y=y, scale=scale, zero=zero)
    return builder.build()
