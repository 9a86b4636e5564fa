# SPDX-License-Identifier: Apache-2.0
"""Programs of one step, built straight from the core: kernels without graph, passes and layers.

Each function returns a Program that takes its inputs in the order given and has one output. Sizes
are the kernels' own; strides count elements.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lamella import _core

# One instruction of an elementwise step: name, result dtype, registers, parameters.
Instruction = tuple[str, str, tuple[int, ...], tuple[float, ...]]


def strides_of(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a C-contiguous array, in elements."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def chain(
    inputs: Sequence[tuple[str, tuple[int, ...]]], code: Sequence[Instruction], dtype: str
) -> _core.Program:
    """An elementwise chain; inputs are (dtype, shape) and broadcast to the largest of them."""
    shape = np.broadcast_shapes(*[s for _, s in inputs])
    builder = _core.ProgramBuilder(inputs=list(inputs), outputs=[(dtype, shape)])
    strides = []
    for _, own in inputs:
        padded = (1,) * (len(shape) - len(own)) + tuple(own)
        steps = zip(padded, strides_of(padded), strict=True)
        strides.append(tuple(0 if size == 1 else step for size, step in steps))
    spec = _core.ElementwiseSpec(
        shape=shape, dtypes=[kind for kind, _ in inputs], strides=strides, code=list(code)
    )
    builder.add(spec, x=[builder.input(i) for i in range(len(inputs))], y=builder.output(0))
    return builder.build()


def unary(
    name: str, dtype: str, shape: tuple[int, ...], params: Sequence[float] = ()
) -> _core.Program:
    return chain([(dtype, shape)], [(name, dtype, (0,), tuple(params))], dtype)


def binary(
    name: str, dtype: str, a: tuple[int, ...], b: tuple[int, ...], result: str | None = None
) -> _core.Program:
    result = result or dtype
    return chain([(dtype, a), (dtype, b)], [(name, result, (0, 1), ())], result)


def select(dtype: str, shape: tuple[int, ...]) -> _core.Program:
    inputs = [("bool", shape), (dtype, shape), (dtype, shape)]
    return chain(inputs, [("select", dtype, (0, 1, 2), ())], dtype)


def cast(source: str, target: str, shape: tuple[int, ...]) -> _core.Program:
    return chain([(source, shape)], [("cast", target, (0,), ())], target)


def reduce(
    kind: str, dtype: str, outer: int, size: int, inner: int, correction: float = 1.0
) -> _core.Program:
    result = dtype
    if kind.startswith("arg") or (kind in ("sum", "prod") and not dtype.startswith("float")):
        result = "int64"
    elif kind in ("any", "all"):
        result = "bool"
    builder = _core.ProgramBuilder(
        inputs=[(dtype, (outer, size, inner))], outputs=[(result, (outer, inner))]
    )
    spec = _core.ReduceSpec(
        kind=kind, dtype=dtype, outer=outer, size=size, inner=inner, correction=correction
    )
    builder.add(spec, x=builder.input(0), y=builder.output(0))
    return builder.build()


def softmax(dtype: str, rows: int, cols: int, *, log: bool) -> _core.Program:
    shape = (rows, cols)
    builder = _core.ProgramBuilder(inputs=[(dtype, shape)], outputs=[(dtype, shape)])
    spec = _core.SoftmaxSpec(dtype=dtype, rows=rows, cols=cols, log=log)
    builder.add(spec, x=builder.input(0), y=builder.output(0))
    return builder.build()


def layer_norm(dtype: str, rows: int, cols: int, *, epsilon: float = 1e-5) -> _core.Program:
    """Inputs: x, weight, bias."""
    builder = _core.ProgramBuilder(
        inputs=[(dtype, (rows, cols)), (dtype, (cols,)), (dtype, (cols,))],
        outputs=[(dtype, (rows, cols))],
    )
    spec = _core.LayerNormSpec(dtype=dtype, rows=rows, cols=cols, epsilon=epsilon)
    x, weight, bias = (builder.input(index) for index in range(3))
    builder.add(spec, x=x, weight=weight, bias=bias, y=builder.output(0))
    return builder.build()


def rms_norm(dtype: str, rows: int, cols: int, *, epsilon: float = 1e-5) -> _core.Program:
    """Inputs: x, weight."""
    builder = _core.ProgramBuilder(
        inputs=[(dtype, (rows, cols)), (dtype, (cols,))], outputs=[(dtype, (rows, cols))]
    )
    spec = _core.RmsNormSpec(dtype=dtype, rows=rows, cols=cols, epsilon=epsilon)
    builder.add(spec, x=builder.input(0), weight=builder.input(1), y=builder.output(0))
    return builder.build()


def class_loss(
    dtype: str,
    rows: int,
    cols: int,
    *,
    weighted: bool = False,
    smoothing: float = 0.0,
    log_probabilities: bool = False,
    slopes: bool = True,
    ignored: int = -100,
) -> _core.Program:
    """Inputs: x, target, the weights of the classes if wanted. Outputs: losses, weights, slopes."""
    vectors = [(dtype, (cols,))] * weighted
    builder = _core.ProgramBuilder(
        inputs=[(dtype, (rows, cols)), ("int64", (rows,)), *vectors],
        outputs=[(dtype, (rows,)), (dtype, (rows,)), *[(dtype, (rows, cols))] * slopes],
    )
    spec = _core.ClassLossSpec(
        dtype=dtype,
        rows=rows,
        cols=cols,
        log_probabilities=log_probabilities,
        ignored=ignored,
        smoothing=smoothing,
    )
    builder.add(
        spec,
        x=builder.input(0),
        target=builder.input(1),
        weight=builder.input(2) if weighted else None,
        losses=builder.output(0),
        weights=builder.output(1),
        slopes=builder.output(2) if slopes else None,
    )
    return builder.build()


def copy(
    dtype: str, shape: tuple[int, ...], strides: tuple[int, ...], extent: int
) -> _core.Program:
    """Reads `shape` with `strides` from a flat input of `extent` elements."""
    builder = _core.ProgramBuilder(inputs=[(dtype, (extent,))], outputs=[(dtype, shape)])
    size = np.dtype(dtype).itemsize
    back = sum((n - 1) * -step for n, step in zip(shape, strides, strict=True) if step < 0)
    spec = _core.CopySpec(
        item_bytes=size, shape=shape, x_strides=strides, y_strides=strides_of(shape)
    )
    builder.add(spec, x=builder.input(0).shifted(back * size), y=builder.output(0))
    return builder.build()


def fill(dtype: str, count: int, value: float) -> _core.Program:
    builder = _core.ProgramBuilder(inputs=[], outputs=[(dtype, (count,))])
    builder.add(_core.FillSpec(dtype=dtype, count=count, value=value), y=builder.output(0))
    return builder.build()


def gather(
    dtype: str,
    shape: tuple[int, int, int],
    count: int,
    lists: tuple[int, int] = (1, 1),
    from_end: bool = False,
) -> _core.Program:
    """Inputs: x (outer, rows, inner), indices (outer or 1, count, inner or 1) int64.

    lists: the first and the last extent of the indices.
    """
    (outer, rows, inner), (first, last) = shape, lists
    builder = _core.ProgramBuilder(
        inputs=[(dtype, shape), ("int64", (first, count, last))],
        outputs=[(dtype, (outer, count, inner))],
    )
    item = np.dtype(dtype).itemsize
    spec = _core.GatherSpec(
        piece_bytes=item * (inner if last == 1 else 1),
        rows=rows,
        count=count,
        outer=outer,
        inner=last,
        outer_index=first > 1,
        from_end=from_end,
    )
    builder.add(spec, x=builder.input(0), indices=builder.input(1), y=builder.output(0))
    return builder.build()


def index(rows: int, count: int, from_end: bool = False) -> _core.Program:
    """Inputs: indices (count,) int64."""
    builder = _core.ProgramBuilder(inputs=[("int64", (count,))], outputs=[("int64", (count,))])
    spec = _core.IndexSpec(rows=rows, count=count, from_end=from_end)
    builder.add(spec, indices=builder.input(0), y=builder.output(0))
    return builder.build()


def scatter(
    reduce: str,
    dtype: str,
    shape: tuple[int, int, int],
    count: int,
    lists: tuple[int, int] = (1, 1),
    zeros: bool = False,
    **options: int | bool,
) -> _core.Program:
    """Inputs: x (outer, rows, inner) unless `zeros`, indices as in gather, source as x for count.

    options: include_self, skipped.
    """
    (outer, rows, inner), (first, last) = shape, lists
    own = [] if zeros else [(dtype, shape)]
    builder = _core.ProgramBuilder(
        inputs=[*own, ("int64", (first, count, last)), (dtype, (outer, count, inner))],
        outputs=[(dtype, shape)],
    )
    spec = _core.ScatterSpec(
        reduce=reduce,
        dtype=dtype,
        rows=rows,
        count=count,
        width=inner if last == 1 else 1,
        outer=outer,
        inner=last,
        outer_index=first > 1,
        **options,
    )
    *x, indices, source = (builder.input(number) for number in range(2 + len(own)))
    slots = {"x": x[0]} if x else {}
    builder.add(spec, **slots, indices=indices, source=source, y=builder.output(0))
    return builder.build()


def scan(
    kind: str, dtype: str, outer: int, size: int, inner: int, reverse: bool = False
) -> _core.Program:
    """Outputs: y (outer, size, inner), and for max and min the positions."""
    shape = (outer, size, inner)
    extreme = [("int64", shape)] if kind in ("max", "min") else []
    builder = _core.ProgramBuilder(inputs=[(dtype, shape)], outputs=[(dtype, shape), *extreme])
    spec = _core.ScanSpec(
        kind=kind, dtype=dtype, outer=outer, size=size, inner=inner, reverse=reverse
    )
    slots = {"positions": builder.output(1)} if extreme else {}
    builder.add(spec, x=builder.input(0), y=builder.output(0), **slots)
    return builder.build()


def sort(dtype: str, rows: int, cols: int, wanted: int, descending: bool = False) -> _core.Program:
    """Outputs: values and positions, (rows, wanted)."""
    shape = (rows, wanted)
    builder = _core.ProgramBuilder(
        inputs=[(dtype, (rows, cols))], outputs=[(dtype, shape), ("int64", shape)]
    )
    spec = _core.SortSpec(dtype=dtype, rows=rows, cols=cols, wanted=wanted, descending=descending)
    results = {"values": builder.output(0), "positions": builder.output(1)}
    builder.add(spec, x=builder.input(0), **results)
    return builder.build()


def search(dtype: str, rows: int, cols: int, count: int, right: bool = False) -> _core.Program:
    """Inputs: sorted (rows, cols), x (rows, count)."""
    builder = _core.ProgramBuilder(
        inputs=[(dtype, (rows, cols)), (dtype, (rows, count))], outputs=[("int64", (rows, count))]
    )
    spec = _core.SearchSpec(dtype=dtype, rows=rows, cols=cols, count=count, right=right)
    builder.add(spec, sorted=builder.input(0), x=builder.input(1), y=builder.output(0))
    return builder.build()


def dropout(dtype: str, count: int, p: float, stream: int = 0) -> _core.Program:
    builder = _core.ProgramBuilder(inputs=[(dtype, (count,))], outputs=[(dtype, (count,))])
    spec = _core.DropoutSpec(dtype=dtype, count=count, p=p, stream=stream)
    builder.add(spec, x=builder.input(0), y=builder.output(0))
    return builder.build()


def draw(dtype: str, count: int, name: str, stream: int = 0) -> _core.Program:
    builder = _core.ProgramBuilder(inputs=[], outputs=[(dtype, (count,))])
    spec = _core.DrawSpec(name=name, dtype=dtype, count=count, stream=stream)
    builder.add(spec, y=builder.output(0))
    return builder.build()


# Optimisers' updates and how many arrays of state each has.
UPDATES = {
    "sgd": 0,
    "sgd_momentum": 1,
    "sgd_nesterov": 1,
    "adam": 2,
    "adam_amsgrad": 3,
    "adamw": 2,
    "adamw_amsgrad": 3,
    "rmsprop": 1,
    "rmsprop_centered": 2,
    "rmsprop_momentum": 2,
    "rmsprop_centered_momentum": 3,
    "adagrad": 1,
}


def update(rule: str, dtype: str, count: int) -> _core.Program:
    """Inputs: parameter, gradient, state, scalars. Outputs: parameter, state."""
    states = UPDATES[rule]
    builder = _core.ProgramBuilder(
        inputs=[(dtype, (count,))] * (states + 2) + [("float64", (9,))],
        outputs=[(dtype, (count,))] * (states + 1),
    )
    builder.add(
        _core.UpdateSpec(rule=rule, dtype=dtype, count=count),
        x=[builder.input(index) for index in range(states + 2)],
        scalars=builder.input(states + 2),
        y=[builder.output(index) for index in range(states + 1)],
    )
    return builder.build()


def product(
    dtype: str,
    m: int,
    n: int,
    k: int,
    *,
    batch: tuple[int, ...] = (),
    transpose_a: bool = False,
    transpose_b: bool = False,
    constant: bool = False,
    activation: tuple[str, tuple[float, ...]] | None = None,
    b_dtype: str | None = None,
) -> _core.MatMulSpec:
    """Of contiguous (batch, m, k) and (batch, k, n), or with their last axes exchanged."""
    name, params = activation or ("", ())
    return _core.MatMulSpec(
        dtype=dtype,
        b_dtype=b_dtype or dtype,
        batch=batch,
        m=m,
        n=n,
        k=k,
        a_batch=strides_of((*batch, m, k))[: len(batch)],
        a_row=1 if transpose_a else k,
        a_k=m if transpose_a else 1,
        b_batch=strides_of((*batch, k, n))[: len(batch)],
        b_k=1 if transpose_b else n,
        b_col=k if transpose_b else 1,
        b_constant=constant,
        activation=name,
        activation_params=params,
    )


def matmul(
    dtype: str,
    m: int,
    n: int,
    k: int,
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
    constant: np.ndarray | None = None,
    bias: bool = False,
    residual: bool = False,
    activation: tuple[str, tuple[float, ...]] | None = None,
    batch: tuple[int, ...] = (),
    b_dtype: str | None = None,
) -> _core.Program:
    """y = activation(a @ b + bias + residual).

    Inputs: a, b unless it is a constant, then bias and residual if asked for. A transposed operand
    is stored as (k, m) or (n, k).
    """
    a_shape = (*batch, k, m) if transpose_a else (*batch, m, k)
    b_shape = (*batch, n, k) if transpose_b else (*batch, k, n)
    y_shape = (*batch, m, n)
    inputs = [(dtype, a_shape)]
    if constant is None:
        inputs.append((b_dtype or dtype, b_shape))
    if bias:
        inputs.append((dtype, (n,)))
    if residual:
        inputs.append((dtype, y_shape))
    spec = product(
        dtype,
        m,
        n,
        k,
        batch=batch,
        transpose_a=transpose_a,
        transpose_b=transpose_b,
        constant=constant is not None,
        activation=activation,
        b_dtype=b_dtype,
    )
    builder = _core.ProgramBuilder(inputs=inputs, outputs=[(dtype, y_shape)])
    rest = [builder.input(index) for index in range(1, len(inputs))]
    if constant is not None:
        if constant.shape != b_shape:
            raise ValueError(f"constant has shape {constant.shape}, wanted {b_shape}")
        rest.insert(0, builder.constant(constant))
    b = rest.pop(0)
    builder.add(
        spec,
        a=builder.input(0),
        b=b,
        bias=rest.pop(0) if bias else None,
        residual=rest.pop(0) if residual else None,
        y=builder.output(0),
    )
    return builder.build()
