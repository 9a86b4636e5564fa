# SPDX-License-Identifier: Apache-2.0
"""PyTorch's files made by hand: what a state dict needs is read, everything else is refused.

Files that PyTorch itself wrote are read in tests/parity/test_torch_files.py; what is skipped beside
a state dict is in test_weights.py.
"""

from __future__ import annotations

import pickle
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from comparators import same_bits
from lamella.storage import opcodes, torch_file
from lamella.storage.weights import Weights
from storage.crafted import (
    HOOKS,
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
    zip_bytes,
)

PLAIN = tensor((2, 3), (3, 1))
X = np.arange(6, dtype=np.float32).reshape(2, 3)


def loaded(path: Path, pickled: bytes, **named: object) -> dict[str, np.ndarray]:
    found = cost_of(path, torch_bytes(pickled, **named))  # type: ignore[arg-type]
    assert isinstance(found, dict), found
    return found


@pytest.mark.parametrize(
    ("shape", "strides", "offset", "want"),
    [
        ((2, 3), (3, 1), 0, X),
        ((3, 2), (1, 3), 0, X.T),
        ((3,), (1,), 3, X[1]),
        ((2,), (3,), 1, X[:, 1]),
        ((), (), 5, X[1, 2]),
        ((0, 4), (1, 1), 6, np.zeros((0, 4), np.float32)),
        ((2, 2), (0, 0), 5, np.full((2, 2), 5, np.float32)),
        ((1, 3), (2**62, 1), 0, X[:1]),
    ],
)
def test_views_of_a_storage(
    shape: tuple[int, ...], strides: tuple[int, ...], offset: int, want: np.ndarray, tmp_path: Path
) -> None:
    found = loaded(tmp_path / "x", dict_of(w=tensor(shape, strides, offset=offset)))
    same_bits(found["w"], np.array(want, order="C"))
    assert found["w"].flags.writeable


def test_tensors_of_one_storage_become_arrays_of_their_own(tmp_path: Path) -> None:
    found = loaded(tmp_path / "x", dict_of(a=PLAIN, b=PLAIN, c=tensor((6,), (1,))))
    found["a"][:] = 7
    same_bits(found["b"], X)
    same_bits(found["c"], X.reshape(6))


@pytest.mark.parametrize("name", ["state_dict", "model_state_dict", "model"])
def test_a_state_dict_among_other_things(name: str, tmp_path: Path) -> None:
    inner = {name: dict_of(w=PLAIN), "epoch": number(3), "best": b"G" + struct.pack(">d", 0.5)}
    inner["list"] = b"](" + number(1) + b"N" + b"\x88" + tuple_of(number(-5)) + b"e"
    assert list(loaded(tmp_path / "x", dict_of(**inner))) == ["w"]


def test_a_big_endian_file(tmp_path: Path) -> None:
    members = {
        "net/data.pkl": b"\x80\x02" + dict_of(w=PLAIN) + b".",
        "net/byteorder": b"big",
        "net/data/0": X.astype(">f4").tobytes(),
    }
    found = cost_of(tmp_path / "x", zip_bytes(members))
    assert isinstance(found, dict)
    same_bits(found["w"], X)
    members["net/byteorder"] = b"middle"
    refusal(tmp_path / "x", zip_bytes(members), "unknown byte order")


# Every way in which a pickle has been made to run something, and near relatives.
GLOBALS = [
    ("os", "system"),
    ("posix", "system"),
    ("builtins", "eval"),
    ("builtins", "getattr"),
    ("__builtin__", "exec"),
    ("subprocess", "Popen"),
    ("torch", "load"),
    ("torch._utils", "_rebuild_sparse_tensor"),
    ("torch._utils", "_rebuild_meta_tensor_no_storage"),
    ("torch._utils", "_rebuild_device_tensor_from_numpy"),
    ("torch.storage", "_load_from_bytes"),
    ("torch.nn.modules.linear", "Linear"),
    ("torch.jit", "_unwrap_optional"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("collections", "defaultdict"),
    ("collections", "OrderedDict.fromkeys"),
    ("torch", "FloatStorage.from_file"),
    ("torch", "ComplexFloatStorage"),
    ("copyreg", "_reconstructor"),
]


@pytest.mark.parametrize(("module", "name"), GLOBALS)
def test_a_global_is_named_and_not_loaded_cve_2025_32434(
    module: str, name: str, tmp_path: Path
) -> None:
    for pickled in (
        named(module, name),
        text(module) + text(name) + b"\x93",
        dict_of(w=PLAIN, v=named(module, name) + tuple_of(text("echo")) + b"R"),
    ):
        refusal(tmp_path / "x", torch_bytes(pickled), f"'{module}.{name}'")


class _Runs:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return sys.exit, ("a pickle was run",)


def test_nothing_is_run(tmp_path: Path) -> None:
    for protocol in range(2, 6):
        data = zip_bytes({"net/data.pkl": pickle.dumps({"w": _Runs()}, protocol)})
        refusal(tmp_path / "x", data, "'sys.exit'")
    for protocol in range(6):
        data = pickle.dumps({"w": _Runs()}, protocol)
        refusal(tmp_path / "x", data, "bare pickle" if protocol >= 2 else "no format known")
        refusal(tmp_path / "x", data, "no archive", format="torch")


@pytest.mark.parametrize(("module", "name"), GLOBALS)
def test_a_global_beside_the_weights_is_inert(module: str, name: str, tmp_path: Path) -> None:
    known = name in ("_reconstruct", "scalar", "defaultdict")  # with other arguments
    for call in (b"R", b"\x81", b")\x92"):
        thing = named(module, name) + tuple_of(text("echo")) + call
        data = torch_bytes(dict_of(model=dict_of(w=PLAIN), beside=thing))
        if known:
            refusal(tmp_path / "x", data, f"'{module}.{name}'")
            continue
        found = cost_of(tmp_path / "x", data)
        assert isinstance(found, Weights), found
        assert found.skipped == {"beside": f"{module}.{name}"}


ALLOWED = set(opcodes._HANDLERS) | {ord(".")}


@pytest.mark.parametrize("code", sorted(set(range(256)) - ALLOWED))
def test_every_other_instruction_is_refused(code: int, tmp_path: Path) -> None:
    refusal(tmp_path / "x", torch_bytes(bytes([code]) + b"1\n2\n"), "not among those allowed")


def storage_id(*parts: bytes) -> bytes:
    return named("torch._utils", "_rebuild_tensor_v2") + tuple_of(
        tuple_of(*parts) + b"Q",
        number(0), tuple_of(number(6)), tuple_of(number(1)), b"\x89", HOOKS,
    ) + b"R"  # fmt: skip


FLOATS = named("torch", "FloatStorage")
VALUES = {
    "not_a_dict": (number(1), "holds no dict of tensors; got value='int'"),
    "entry_is_text_only": (dict_of(v=text("a")), "'v', value=str"),
    "entry_is_number_only": (dict_of(epoch=number(1)), "is no tensor"),
    "entry_is_storage": (dict_of(w=PLAIN, v=FLOATS), "is no tensor"),
    "empty": (b"", "does not end with one value"),
    "two_values": (b"NN", "does not end with one value"),
    "open_mark": (b"N(", "does not end with one value"),
    "underflow": (b"a", "stack is empty"),
    "underflow_below_a_mark": (b"](Na", "stack is empty"),
    "append_to_a_dict": (b"}Na", "is no list"),
    "item_of_a_list": (b"]NNs", "is no dict"),
    "odd_items": (b"}(Nu", "no value"),
    "mark_missing": (b"}u", "mark is missing"),
    "memo_missing": (b"h\x05", "has not stored"),
    "key_is_number_of_64_bits": (b"}" + number(2**61 - 1) + b"Ns", "is no tensor"),
    "key_is_tuple": (b"})Ns", "is no tensor"),
    "key_is_truth": (b"}\x88Ns", "is no tensor"),
    "text_cut": (b"X\xff\xff\xff\x7fab", "ends early"),
    "text_cut_short": (b"X\x7f\0\0\0ab", "ends early"),
    "text_no_unicode": (b"X\1\0\0\0\xff", "not Unicode"),
    "marks_deep_ghsa_7w46_vvrh_m8q5": (b"(" * 65, "nested deeper"),
    "attributes_of_a_dict": (b"}}b", "attributes for what has none"),
    "attributes_of_a_tensor": (PLAIN + b"}b", "attributes for what has none"),
    "protocol": (b"\x80\x09", "pickle protocol 9"),
    "global_without_end": (b"c" + b"x" * 1000, "name of a global is too long"),
    "call_of_a_text": (text("os.system") + b")R", "a call with arguments not known"),
    "call_without_tuple": (HOOKS + b"NR", "arguments are no tuple"),
    "call_of_a_dtype": (named("torch", "float32") + b")R", "a call with arguments not known"),
    "call_with_more": (named("collections", "OrderedDict") + b"N\x85R", "arguments not known"),
    "persistent_text": (text("0") + b"Q", "no storage of numbers"),
    "persistent_module": (tuple_of(text("module"), b"N", text("a")) + b"Q", "no storage"),
    "storage_of_a_dtype": (
        storage_id(text("storage"), named("torch", "float32"), text("0"), text("cpu"), number(6)),
        "no storage of numbers",
    ),
    "storage_count_negative": (
        storage_id(text("storage"), FLOATS, text("0"), text("cpu"), number(-6)),
        "no storage of numbers",
    ),
    "storage_count_truth": (
        storage_id(text("storage"), FLOATS, text("0"), text("cpu"), b"\x88"),
        "no storage of numbers",
    ),
    "storage_count_wrong": (dict_of(w=tensor((7,), (1,), count=7)), "has another size"),
    "storage_missing": (dict_of(w=tensor((6,), (1,), key="9")), "missing"),
    "storage_elsewhere_cve_2024_27318": (dict_of(w=tensor((6,), (1,), key="../0")), "missing"),
    "storage_is_the_pickle": (dict_of(w=tensor((6,), (1,), key="../data.pkl")), "missing"),
    "storage_of_two_kinds": (
        dict_of(w=PLAIN, v=tensor((6,), (1,), kind="IntStorage")), "a storage of two kinds",
    ),
    "beyond_by_shape_ghsa_53q9": (dict_of(w=tensor((7,), (1,))), "beyond its storage"),
    "beyond_by_stride": (dict_of(w=tensor((2, 3), (4, 1))), "beyond its storage"),
    "beyond_by_offset": (dict_of(w=tensor((6,), (1,), offset=1)), "beyond its storage"),
    "offset_negative_onnxruntime_27265": (
        dict_of(w=tensor((2,), (1,), offset=-1)), "description is not one",
    ),
    "stride_negative": (dict_of(w=tensor((2,), (-1,), offset=3)), "description is not one"),
    "size_negative": (dict_of(w=tensor((-1,), (1,))), "description is not one"),
    "size_beyond_64_bits": (dict_of(w=tensor((2**70,), (0,))), "description is not one"),
    "product_overflows": (dict_of(w=tensor((2**40, 2**40), (0, 0))), "too large"),
    "rank_differs_onnx_7879": (dict_of(w=tensor((2, 3), (1,))), "description is not one"),
    "rank": (dict_of(w=tensor((1,) * 33, (0,) * 33)), "more than 32 axes"),
    "conjugate": (
        dict_of(w=tensor((6,), (1,), more=(dict_of(conj=b"\x88"),))), "tensor with metadata",
    ),
    "expanded_bomb": (dict_of(w=tensor((2**30,), (0,))), "more memory than allowed"),
}  # fmt: skip


@pytest.mark.parametrize("rule", VALUES)
def test_a_broken_rule_is_named(rule: str, tmp_path: Path) -> None:
    pickled, part = VALUES[rule]
    refusal(tmp_path / "x", torch_bytes(pickled), part, format="torch")


def test_a_dict_that_holds_itself(tmp_path: Path) -> None:
    pickled = b"}q\0" + text("model") + b"h\0s"
    refusal(tmp_path / "x", torch_bytes(pickled), "is no tensor")


def test_a_shared_expansion_counts_every_time(tmp_path: Path) -> None:
    """Many cheap names of one storage: their arrays together keep to the budget."""
    many = {f"w{i}": tensor((1 << 20,), (0,)) for i in range(40)}
    refusal(tmp_path / "x", torch_bytes(dict_of(**many)), "more memory than allowed")


@pytest.mark.parametrize(
    ("pickled", "part"),
    [
        (b"}" * (1 << 22), "stack is too high"),
        (b"](" + (b"}" * 1000 + b"e(") * 4000, "more memory than allowed"),
        (b"N" + b"q\0" * (1 << 21), "more memory than allowed"),
        (b"](" + b"NNNNNNNNe(" * 400_000, "steps"),
        (b"".join(text(str(i)) + b"r" + struct.pack("<I", i) for i in range(1 << 18)), "pickle"),
    ],
    ids=["stack", "containers", "memo", "steps", "texts"],
)  # fmt: skip
def test_a_pickle_that_asks_for_much(pickled: bytes, part: str, tmp_path: Path) -> None:
    refusal(tmp_path / "x", torch_bytes(pickled, {}), part)


def test_a_deflated_pickle_is_bounded(tmp_path: Path) -> None:
    for size, part in ((61 << 20, "more memory than allowed"), (65 << 20, "too large")):
        data = zip_bytes({"net/data.pkl": bytes(size)}, deflated=True)
        refusal(tmp_path / "x", data, part)


def test_other_formats_of_pytorch_are_refused_by_name(tmp_path: Path) -> None:
    script = {"net/data.pkl": b"\x80\x02}.", "net/constants.pkl": b"", "net/code/a.py": b""}
    refusal(tmp_path / "x", zip_bytes(script), "TorchScript")
    refusal(
        tmp_path / "x", b"sys_info".ljust(257, b"\0") + b"ustar\0".ljust(255, b"\0"), "PyTorch 0.1"
    )


def test_a_damaged_storage_is_noticed(tmp_path: Path) -> None:
    data = bytearray(torch_bytes(dict_of(w=PLAIN)))
    data[data.index(SIX)] ^= 1
    refusal(tmp_path / "x", bytes(data), "checksum differs")


def test_a_storage_that_no_tensor_needs_is_not_read(tmp_path: Path) -> None:
    found = cost_of(tmp_path / "x", torch_bytes(dict_of(w=PLAIN), {"0": SIX, "1": b"odd"}))
    assert isinstance(found, dict)
    assert torch_file.read(tmp_path / "x").keys() == {"w"}
