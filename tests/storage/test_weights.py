# SPDX-License-Identifier: Apache-2.0
"""Which dict of a checkpoint is the state dict, what is skipped by name, what is refused."""

from __future__ import annotations

import copy
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from comparators import same_bits
from lamella.storage import files
from lamella.storage.weights import Weights
from storage.crafted import (
    SIX,
    cost_of,
    dict_of,
    named,
    number,
    refusal,
    tensor,
    text,
    torch_bytes,
    tuple_of,
)

PLAIN = tensor((2, 3), (3, 1))
OTHER = tensor((6,), (1,))
X = np.arange(6, dtype=np.float32).reshape(2, 3)
HALF = b"G" + struct.pack(">d", 0.5)
OBJECT = named("argparse", "Namespace") + b")R" + dict_of(lr=HALF) + b"b"
# An optimiser's state: by small numbers, and as it was by the identity of parameters.
MOMENTS = dict_of(exp_avg=OTHER, step=number(3))
ADAM = dict_of(state=b"}(" + number(0) + MOMENTS + number(2**45) + MOMENTS + b"u",
               param_groups=b"](" + dict_of(lr=HALF) + b"e")  # fmt: skip


def loaded(path: Path, pickled: bytes, **named: object) -> Weights:
    found = cost_of(path, torch_bytes(pickled), **named)
    assert isinstance(found, Weights), found
    return found


@pytest.mark.parametrize(
    "name", ["state_dict", "model_state_dict", "model", "net", "network", "my_weights", "ema"]
)
def test_the_state_dict_among_other_things(name: str, tmp_path: Path) -> None:
    beside = {
        "optimizer": ADAM, "best": tensor((1,), (1,)), "loss": tensor((), ()), "args": OBJECT,
        "random": tensor((6,), (1,), kind="ByteStorage", key="1"), "epoch": number(3),
        "callbacks": dict_of(stop=dict_of(best_score=tensor((), ()), wait=number(0))),
    }  # fmt: skip
    found = loaded(tmp_path / "x", dict_of(**beside, **{name: dict_of(w=PLAIN)}))
    assert list(found) == ["w"]
    same_bits(found["w"], X)
    assert found.skipped == {
        "optimizer": "dict", "best": "tensor", "loss": "tensor", "args": "argparse.Namespace",
        "random": "tensor", "epoch": "int", "callbacks": "dict",
    }  # fmt: skip


def test_a_state_dict_further_down(tmp_path: Path) -> None:
    found = loaded(tmp_path / "x", dict_of(ema=dict_of(shadow=dict_of(w=PLAIN), decay=HALF)))
    same_bits(found["w"], X)
    assert found.skipped == {"ema.decay": "float"}


def test_several_state_dicts_need_a_key(tmp_path: Path) -> None:
    nets = dict_of(generator=dict_of(w=PLAIN), critic=dict_of(v=OTHER))
    for pickled, prefix in ((nets, ""), (dict_of(nets=nets, epoch=number(1)), "nets.")):
        part = f"several state dicts; got keys='{prefix}generator', '{prefix}critic'"
        refusal(tmp_path / "x", torch_bytes(pickled), part)
        found = loaded(tmp_path / "x", pickled, key=f"{prefix}critic")
        assert list(found) == ["v"]
        assert found.skipped[f"{prefix}generator"] == "dict"
        refusal(tmp_path / "x", torch_bytes(pickled), "no such key", key="discriminator")
    mixed = dict_of(w=PLAIN, inner=dict_of(v=OTHER), args=OBJECT)
    refusal(tmp_path / "x", torch_bytes(mixed), "got keys='', 'inner'")
    found = loaded(tmp_path / "x", mixed, key="")
    assert list(found) == ["w"]
    assert found.skipped == {"inner": "dict", "args": "argparse.Namespace"}


def test_keys_with_dots_and_lists(tmp_path: Path) -> None:
    pickled = b"}(" + text("a.b") + b"](" + dict_of(w=PLAIN) + OTHER + b"eu"
    assert list(loaded(tmp_path / "x", pickled, key="a.b")) == ["arr_1"]
    assert list(loaded(tmp_path / "x", pickled, key="a.b.arr_0")) == ["w"]
    assert list(loaded(tmp_path / "x", pickled, key="a.b.arr_1")) == ["arr_1"]
    files.save({"w": X}, tmp_path / "x.npz")
    with pytest.raises(NotImplementedError, match="no dicts"):
        files.load(tmp_path / "x.npz", key="w")


def test_tensors_without_names(tmp_path: Path) -> None:
    same_bits(loaded(tmp_path / "x", PLAIN)["arr_0"], X)
    several = loaded(tmp_path / "x", b"](" + PLAIN + number(3) + OTHER + b"e")
    assert list(several) == ["arr_0", "arr_2"]
    assert several.skipped == {"arr_1": "int"}
    pair = loaded(tmp_path / "x", tuple_of(dict_of(w=PLAIN), ADAM))
    assert list(pair) == ["w"]


def test_settings_within_a_state_dict(tmp_path: Path) -> None:
    """monodepth2 keeps the height of its images there, deepmd-kit (4147) a NumPy number."""
    inside = dict_of(w=PLAIN, height=number(192), sizes=b"](" + number(1) + b"e",
                     name=text("depth"), fine=b"\x88", nothing=b"N", optimizer=ADAM)  # fmt: skip
    found = loaded(tmp_path / "x", inside)
    assert list(found) == ["w"]
    assert set(found.skipped) == {"height", "sizes", "name", "fine", "nothing", "optimizer"}
    extra = b"}(" + text("w") + PLAIN + text("net._extra_state") + OBJECT + b"u"
    found = loaded(tmp_path / "x", dict_of(state_dict=extra))
    assert found.skipped == {"state_dict.net._extra_state": "argparse.Namespace"}


SPARSE = named("torch._utils", "_rebuild_sparse_tensor") + tuple_of(OTHER, OTHER) + b"R"
COMPLEX = tensor((3,), (1,), count=3, kind="ComplexFloatStorage")
REFUSED = {
    "object": (OBJECT, "'argparse.Namespace'"),
    "class": (named("argparse", "Namespace"), "'argparse.Namespace'"),
    "sparse": (SPARSE, "'torch._utils._rebuild_sparse_tensor'"),
    "complex": (COMPLEX, "'torch.ComplexFloatStorage'"),
    "quantised_within": (tuple_of(SPARSE, b"N"), "tuple"),
    "tensors_within": (b"](" + OTHER + b"e", "list"),
    "set": (b"\x8f", "'set'"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_stands_where_weights_are_expected(kind: str, tmp_path: Path) -> None:
    thing, part = REFUSED[kind]
    for pickled in (dict_of(w=PLAIN, v=thing), dict_of(state_dict=dict_of(w=PLAIN, v=thing))):
        refusal(tmp_path / "x", torch_bytes(pickled), f"entry='v', value={part}")
    beside = loaded(tmp_path / "x", dict_of(state_dict=dict_of(w=PLAIN), v=thing))
    assert list(beside) == ["w"]
    assert list(beside.skipped) == ["v"]


def test_an_object_as_the_model(tmp_path: Path) -> None:
    module = named("models.yolo", "Model") + b")\x81" + dict_of(w=PLAIN) + b"b"
    refusal(tmp_path / "x", torch_bytes(module), "'models.yolo.Model'")
    refusal(tmp_path / "x", torch_bytes(dict_of(model=module, epoch=number(1))),
            "entry='model', value='models.yolo.Model'")  # fmt: skip


def array(shape: bytes, code: str, data: bytes, order: str = "<", fortran: bool = False) -> bytes:
    """The pickle instructions for an array of NumPy."""
    kind = named("numpy", "dtype") + tuple_of(text(code), b"\x89", b"\x88") + b"R"
    rest = [*[b"N"] * 3, number(-1), number(-1), number(0)]
    kind += tuple_of(number(3), text(order), *rest) + b"b"
    made = named("numpy._core.multiarray", "_reconstruct") + tuple_of(
        named("numpy", "ndarray"), tuple_of(number(0)), b"C\1b"
    )
    raw = b"B" + struct.pack("<I", len(data)) + data
    return (
        made + b"R" + tuple_of(number(1), shape, kind, b"\x88" if fortran else b"\x89", raw) + b"b"
    )


def test_arrays_of_numpy(tmp_path: Path) -> None:
    two = tuple_of(number(2), number(3))
    flags = np.array([True, False])
    found = loaded(tmp_path / "x", dict_of(
        a=array(two, "f4", SIX), f=array(two, "f4", SIX, fortran=True),
        b=array(two, "f4", X.astype(">f4").tobytes(), ">"), t=PLAIN,
        flags=array(tuple_of(number(2)), "b1", flags.tobytes(), "|"),
        scalar=array(b")", "i8", np.int64(-3).tobytes()),
    ))  # fmt: skip
    for name in "abt":
        same_bits(found[name], X)
    same_bits(found["f"], np.array(X.reshape(3, 2).T, order="C"))
    same_bits(found["flags"], flags)
    same_bits(found["scalar"], np.array(-3))
    assert all(one.flags.writeable for one in found.values())
    text_array = array(tuple_of(number(2)), "U3", bytes(24))
    refusal(tmp_path / "x", torch_bytes(dict_of(w=PLAIN, v=text_array)), "numpy.ndarray of")
    beside = loaded(tmp_path / "x", dict_of(model=dict_of(w=PLAIN), v=text_array))
    assert beside.skipped == {"v": "numpy.ndarray of 'U3'"}


HOSTILE_ARRAYS = {
    "too_few_bytes": (array(tuple_of(number(7)), "f4", SIX), "do not fit its bytes"),
    "shape_overflows": (array(tuple_of(number(2**40)) , "f4", SIX), "do not fit its bytes"),
    "shape_overflows_64": (array(tuple_of(*[number(2**40)] * 2), "f4", SIX), "shape is not one"),
    "size_negative": (array(tuple_of(number(-6)), "f4", SIX), "shape is not one"),
    "size_text": (array(tuple_of(text("6")), "f4", SIX), "shape is not one"),
    "rank": (array(tuple_of(*[number(1)] * 40), "f4", SIX[:4]), "shape is not one"),
    "truth_value_2": (array(tuple_of(number(1)), "b1", b"\2", "|"), "neither 0 nor 1"),
    "code_with_escapes": (array(tuple_of(number(1)), "\x1b[31m", b"\2"), "numpy.ndarray of"),
    "wide_text_as_bytes": (
        named("_codecs", "encode") + tuple_of(text("\u20ac"), text("latin1")) + b"R", "wider signs",
    ),
    "scalar_too_long": (
        named("numpy.core.multiarray", "scalar")
        + tuple_of(named("numpy", "dtype") + tuple_of(text("f4")) + b"R", b"C\2ab") + b"R",
        "does not fit its bytes",
    ),
    "nested_type": (
        named("torch._tensor", "_rebuild_from_type_v2") + tuple_of(
            named("torch._tensor", "_rebuild_from_type_v2"), named("torch", "Tensor"), b")", b"N"
        ) + b"R", "arguments not known",
    ),
}  # fmt: skip


@pytest.mark.parametrize("rule", HOSTILE_ARRAYS)
def test_a_broken_array_is_refused(rule: str, tmp_path: Path) -> None:
    thing, part = HOSTILE_ARRAYS[rule]
    refusal(tmp_path / "x", torch_bytes(dict_of(w=PLAIN, v=thing)), part)


def test_numbers_of_numpy_and_awkward_keys(tmp_path: Path) -> None:
    kind = named("numpy", "dtype") + tuple_of(text("f8"), b"\x89", b"\x88") + b"R"
    best = named("numpy.core.multiarray", "scalar") + tuple_of(kind, b"C\x08" + bytes(8)) + b"R"
    keys = [number(2**61 - 1), b")", b"\x88", b"N", HALF, b"C\1x", number(-1), OBJECT]
    awkward = b"}(" + b"".join(key + b"N" for key in keys) + b"u"
    found = loaded(tmp_path / "x", dict_of(model=dict_of(w=PLAIN), best=best, awkward=awkward))
    assert found.skipped == {"best": "float", "awkward": "dict"}


def test_objects_take_whatever_a_pickle_gives_them(tmp_path: Path) -> None:
    things = {
        "list": OBJECT + b"(NNe" + b"Na", "dict": OBJECT + b"(NNu" + text("k") + b"Ns",
        "set": b"\x8f(NN\x90", "frozen": b"(N\x91", "old": b"(" + named("m", "C") + b"No",
        "keyword": named("m", "C") + b")}\x92", "again": b"N20", "dropped": b"N(NN1",
        "big": b"\x8b\x05\0\0\0" + bytes(4) + b"\1", "bytes": b"\x8e\2" + bytes(7) + b"ab",
        "array": b"\x96\2" + bytes(7) + b"ab", "text": b"\x8d\2" + bytes(7) + b"ab",
    }  # fmt: skip
    found = loaded(tmp_path / "x", dict_of(model=dict_of(w=PLAIN), **things))
    assert found.skipped == {
        "list": "argparse.Namespace", "dict": "argparse.Namespace", "set": "set",
        "frozen": "frozenset", "old": "m.C", "keyword": "m.C", "again": "NoneType",
        "dropped": "NoneType", "big": "int", "bytes": "bytes", "array": "bytes", "text": "str",
    }  # fmt: skip


def test_shared_settings_are_looked_into_once(tmp_path: Path) -> None:
    """20,000 entries of one list of 20,000 parts: not four hundred million looks."""
    many = b"](" + b"N" * 20_000 + b"eq\0" + b"0"
    entries = b"".join(text(str(i)) + b"h\0" for i in range(20_000))
    found = loaded(tmp_path / "x", many + b"}(" + text("w") + PLAIN + entries + b"u")
    assert list(found) == ["w"]


def test_tensors_side_by_side_are_not_copied(tmp_path: Path) -> None:
    """As recurrent layers keep their weights: stretches of one storage."""
    found = loaded(
        tmp_path / "x", dict_of(a=tensor((2,), (1,)), b=tensor((2, 2), (2, 1), offset=2))
    )
    assert found["a"].base is not None
    assert found["a"].base is found["b"].base or found["a"].base is found["b"].base.base
    found["a"][:] = 9
    same_bits(found["b"], np.float32([[2, 3], [4, 5]]))
    alone = loaded(tmp_path / "x", dict_of(a=tensor((1,), (1,))))  # of six
    assert alone["a"].base is None or alone["a"].base.size == 1


def test_weights_are_a_dict(tmp_path: Path) -> None:
    found = loaded(tmp_path / "x", dict_of(w=PLAIN, epoch=number(3)))
    for twin in (pickle.loads(pickle.dumps(found)), copy.deepcopy(found), copy.copy(found)):
        assert twin.skipped == {"epoch": "int"}
        same_bits(twin["w"], X)
