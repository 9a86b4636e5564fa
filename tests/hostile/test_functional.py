# SPDX-License-Identifier: Apache-2.0
"""Bad input at every function of lamella.functional: a right result or a clear refusal.

Functions are taken from the namespace itself, so that a new one is tested from its first day. A
spoiled call is compared with the meaning of its ops (their NumPy references), computed by the same
function in debug mode; whatever is refused must be refused by one of the documented exceptions.
"""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import lamella as lm
import lamella.functional as F
from cases.functional import CALLS, DRAWN, arrays_in, replaced
from comparators import Mismatch, same_bits
from hostile.arrays import HUGE, OTHERS, SAME_VALUES, huge, read_only
from hostile.every import every
from hostile.refusals import REFUSALS, check_refusal
from lamella.errors import DTypeError, ShapeError, UnsupportedError
from lamella.functional import selection
from lamella.ir.types import DType
from lamella.runtime.signature import flatten, unflatten

DTYPES = ("float32", "float64")
NAMES = sorted(F.__all__)
SURE = [name for name in NAMES if name not in DRAWN]
# No programs: their results' shapes follow from elements.
NUMPYS = selection.__all__


def leaves(result: object) -> list[np.ndarray]:
    return [result] if isinstance(result, np.ndarray) else list(result)


def run(name: str, call) -> list[np.ndarray]:
    args, kwargs = call
    return [y.copy() for y in leaves(getattr(F, name)(*args, **kwargs))]


def meaning(name: str, call) -> list[np.ndarray]:
    """The call in debug mode, where every node is checked against its op's reference."""
    args, kwargs = call
    session = lm.compile(getattr(F, name), *args, **kwargs, debug=True)
    return [np.array(y) for y in leaves(session(*args, **kwargs))]


def test_every_function_has_a_call():
    assert set(NAMES) <= set(CALLS), "add a row to tests/cases/functional.py"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_the_call_itself(name, dtype):
    call = CALLS[name](dtype)
    kept = [x.copy() for _, x in arrays_in(call)]
    first, second = run(name, call), run(name, call)
    for a, b in zip(first, second, strict=True):
        same_bits(a, b)
    for before, (_, after) in zip(kept, arrays_in(call), strict=True):
        same_bits(after, before)


@pytest.mark.parametrize("name", NAMES)
@every(form=SAME_VALUES)
def test_other_forms_of_the_same_array(name, form):
    for dtype in DTYPES:
        call = CALLS[name](dtype)
        want = run(name, call)
        for place, value in arrays_in(call):
            got = run(name, replaced(call, place, SAME_VALUES[form](value)))
            for a, b in zip(got, want, strict=True):
                same_bits(a, b)


@pytest.mark.parametrize("dtype", ["<f2", ">f2"])
@pytest.mark.parametrize("name", NAMES)
def test_halves_are_computed_as_float32(name, dtype):
    """One of the arrays, and all of them; what comes out is float32 as it is from networks."""
    call = every_half = CALLS[name]("float32")
    for place, value in arrays_in(call):
        if value.dtype != np.float32:
            continue
        half = value.astype(dtype)
        want = run(name, replaced(call, place, half.astype(np.float32)))
        for a, b in zip(run(name, replaced(call, place, half)), want, strict=True):
            same_bits(a, b)
        every_half = replaced(every_half, place, half)
    every_float = every_half
    for place, value in arrays_in(every_half):
        if value.dtype == np.dtype(dtype):
            every_float = replaced(every_float, place, value.astype(np.float32))
    for a, b in zip(run(name, every_half), run(name, every_float), strict=True):
        same_bits(a, b)


@pytest.mark.parametrize("name", SURE)
@every(form=["masked", "longdouble"])
def test_what_would_lose_a_meaning_is_refused(name, form):
    """A mask that would be forgotten; digits that would be dropped."""
    call = CALLS[name]("float32")
    for place, value in arrays_in(call):
        thing = OTHERS[form](value) if form == "longdouble" else np.ma.masked_array(value, True)
        if form == "longdouble" and value.dtype.kind != "f":
            continue
        with pytest.raises((DTypeError, UnsupportedError), match=r"astype\(np.float64\)|filled"):
            run(name, replaced(call, place, thing))


@pytest.mark.parametrize("name", SURE)
def test_out_of_another_kind_is_refused(name):
    args, kwargs = CALLS[name]("float32")
    results, structure = flatten(getattr(F, name)(*args, **kwargs))
    for spoil in (
        lambda y: y.astype(np.float16 if y.dtype.kind == "f" else np.float32),
        lambda y: y.astype(y.dtype.newbyteorder()) if y.dtype.itemsize > 1 else y.tolist(),
        lambda y: np.ma.masked_array(y, True),
        lambda y: y[None],
        read_only,
        lambda y: y.tolist(),
    ):
        out = unflatten(structure, [spoil(np.array(y)) for y in results])
        with pytest.raises(REFUSALS, match="out") as error:
            getattr(F, name)(*args, **kwargs, out=out)
        check_refusal(error.value)


@pytest.mark.parametrize("name", SURE)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@every(form=OTHERS)
def test_other_things(name, form):
    call = CALLS[name]("float32")
    for place, value in arrays_in(call):
        try:
            spoiled = replaced(call, place, OTHERS[form](value))
        except (ValueError, TypeError, OverflowError):
            continue
        try:
            got = run(name, spoiled)
        except REFUSALS as error:
            check_refusal(error)
            continue
        for y in got:
            assert type(y) is np.ndarray
            assert y.dtype.name in {one.name for one in DType if not one.is_storage}
        # Accepted, so it must mean something: the same call on a plain array of these values. A
        # Python number has the dtype of the arrays beside it, or float64 without any.
        thing = OTHERS[form](value)
        if thing is not None:
            wanted = [np.asarray(thing)]
            if isinstance(thing, int | float):
                wanted += [np.asarray(thing, np.float64), np.asarray(thing, value.dtype)]
            assert any(equal(got, name, replaced(call, place, plain)) for plain in wanted)


def equal(got: list[np.ndarray], name: str, call) -> bool:
    try:
        for a, b in zip(got, run(name, call), strict=True):
            same_bits(a, b)
    except (Mismatch, *REFUSALS):
        return False
    return True


@pytest.mark.parametrize("name", [n for n in SURE if n not in ("dropout", *NUMPYS)])
@every(form=["rank up", "one row", "no rows", "broadcast", "not finite"])
def test_accepted_shapes_mean_what_the_references_say(name, form):
    call = CALLS[name]("float32")
    for place, value in arrays_in(call):
        spoiled = replaced(call, place, np.ascontiguousarray(OTHERS[form](value)))
        try:
            got = run(name, spoiled)
        except REFUSALS:
            continue
        for a, b in zip(got, meaning(name, spoiled), strict=True):
            same_bits(a, b)


@pytest.mark.parametrize("name", NAMES)
@every(form=HUGE)
def test_products_of_sizes_do_not_wrap(name, form):
    call = CALLS[name]("float32")
    for place, value in arrays_in(call):
        with pytest.raises((*REFUSALS, MemoryError)):
            run(name, replaced(call, place, huge(HUGE[form], value.dtype)))


def test_a_product_of_two_small_inputs_may_be_huge():
    column, row = np.zeros((2**22, 1), np.float32), np.zeros((1, 2**22), np.float32)
    for function in (F.add, F.maximum, F.matmul):
        with pytest.raises((ValueError, MemoryError)):
            function(column, row)


@pytest.mark.parametrize("name", NAMES)
def test_wrong_arguments(name):
    function, (args, kwargs) = getattr(F, name), CALLS[name]("float32")
    with pytest.raises(TypeError):
        function(*args, **kwargs, no_such_argument=1)
    kinds = [one.kind for one in inspect.signature(function).parameters.values()]
    if kinds[0] is inspect.Parameter.VAR_POSITIONAL:
        return
    with pytest.raises(TypeError):
        function()
    with pytest.raises(ValueError if name == "einsum" else (TypeError, ShapeError)):
        function(*args, *[np.ones(3, np.float32)] * 20, **kwargs)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@every(static=[None, "x", 1.5, (), [], {}, -100, 10**30, np.nan, (1, 2, 3, 4)])
def test_other_static_arguments(name, static):
    """Sizes, axes, numbers: a result of a documented type or a documented refusal."""
    args, kwargs = CALLS[name]("float32")
    for index, value in enumerate(args):
        if not isinstance(value, np.ndarray | list):
            try:
                run(name, ((*args[:index], static, *args[index + 1 :]), kwargs))
            except REFUSALS as error:
                check_refusal(error)
    for key in kwargs:
        try:
            run(name, (args, {**kwargs, key: static}))
        except REFUSALS as error:
            check_refusal(error)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_out(name, dtype):
    """A right `out` is filled and returned; a wrong one is refused and stays as it was."""
    call = CALLS[name](dtype)
    args, kwargs = call
    want = run(name, call)
    if len(want) != 1 or not isinstance(getattr(F, name)(*args, **kwargs), np.ndarray):
        pytest.skip("several results")
    function = getattr(F, name)
    (good,) = want
    for _ in range(3):
        out = np.full_like(good, 1)
        assert function(*args, **kwargs, out=out) is out
        same_bits(out, good)
    wrong = {
        "shape": np.ones((*good.shape, 1), good.dtype),
        "size": np.ones((7, 11), good.dtype),
        "dtype": np.ones(good.shape, np.int16),
        "complex": np.ones(good.shape, np.complex128),
        "object": np.ones(good.shape, object),
        "list": good.tolist(),
        "text": "out",
        "number": 1.0,
    }
    frozen = np.ones_like(good)
    frozen.flags.writeable = False
    wrong["read-only"] = frozen
    wrong["broadcast"] = np.broadcast_to(np.ones((), good.dtype), good.shape)
    for form, out in wrong.items():
        kept = np.array(out).copy()
        with pytest.raises(REFUSALS):
            function(*args, **kwargs, out=out)
        assert np.array_equal(np.array(out), kept), form


@pytest.mark.parametrize("name", NAMES)
@every(form=["spread", "backwards", "fortran", "misaligned", "byte-swapped"])
def test_out_in_other_forms(name, form):
    """A writeable `out` of another layout is filled rightly or refused, never half written."""
    args, kwargs = CALLS[name]("float32")
    function = getattr(F, name)
    result = function(*args, **kwargs)
    if not isinstance(result, np.ndarray):
        pytest.skip("several results")
    good = result.copy()
    for _ in range(2):
        out = SAME_VALUES[form](np.ones_like(good))
        try:
            assert function(*args, **kwargs, out=out) is out
        except REFUSALS as error:
            check_refusal(error)
            assert (np.asarray(out) == 1).all()
        else:
            assert np.array_equal(out, good)


@pytest.mark.parametrize("name", NAMES)
@every(shift=[0, 1, 2, 5, 8, 29])
def test_out_over_an_input(name, shift):
    """Overlap of `out` with an input, whole or partial, changes no result."""
    call = CALLS[name]("float32")
    function = getattr(F, name)
    result = function(*call[0], **call[1])
    if not isinstance(result, np.ndarray) or result.dtype != np.float32:
        pytest.skip("no single float32 result")
    good = result.copy()
    for place, value in arrays_in(call):
        if value.dtype != np.float32:
            continue
        for _ in range(2):
            memory = np.zeros(value.size + good.size + shift, np.float32)
            x = memory[: value.size].reshape(value.shape)
            x[...] = value
            out = memory[shift : shift + good.size].reshape(good.shape)
            args, kwargs = replaced(call, place, x)
            assert function(*args, **kwargs, out=out) is out
            same_bits(out.copy(), good)
