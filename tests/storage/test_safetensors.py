# SPDX-License-Identifier: Apache-2.0
"""safetensors: both ways against the original package, and files that break one rule each."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from comparators import same_bits
from lamella.errors import DTypeError, FormatError
from lamella.storage import safetensors as own
from storage.crafted import entry, refusal, safetensors_bytes

DTYPES = ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?"]
SHAPES = [(), (0,), (1,), (7,), (3, 5), (2, 0, 4), (2, 3, 4, 5)]


def every_array() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {
        f"{dtype}.{shape}": np.asarray(rng.integers(0, 2, shape)).astype(dtype)
        for dtype in DTYPES
        for shape in SHAPES
    }


METADATA = {"format": "pt", "quote": '{"a": "\\u00e9\\\\"}', "tab\t\x01": "é\U0001f600\n"}


def test_the_original_reads_what_we_write(tmp_path: Path) -> None:
    want, path = every_array(), tmp_path / "x.safetensors"
    own.write(path, want, METADATA)
    got = safetensors.numpy.load_file(path)
    assert got.keys() == want.keys()
    for name, array in want.items():
        same_bits(got[name], array)
    with safetensors.safe_open(path, "np") as file:
        assert file.metadata() == METADATA


def test_we_read_what_the_original_writes(tmp_path: Path) -> None:
    want, path = every_array(), tmp_path / "x.safetensors"
    safetensors.numpy.save_file(want, path, METADATA)
    got, metadata = own.read(path)
    assert metadata == METADATA
    assert got.keys() == want.keys()
    for name, array in want.items():
        same_bits(got[name], array)
        assert got[name].flags.writeable


def test_the_order_of_names_survives(tmp_path: Path) -> None:
    want = {"z": np.zeros(1, "u1"), "a": np.zeros(1), "m": np.zeros(1, "f4")}
    own.write(tmp_path / "x", want)
    assert list(own.read(tmp_path / "x")[0]) == ["z", "a", "m"]


def test_data_lies_at_multiples_of_its_size(tmp_path: Path) -> None:
    own.write(tmp_path / "x", {"a": np.zeros(3, "u1"), "b": np.zeros(3), "c": np.zeros(1, "f2")})
    data = (tmp_path / "x").read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert length % 8 == 0
    header = json.loads(data[8 : 8 + length])
    assert {name: header[name]["data_offsets"][0] for name in header} == {"b": 0, "c": 24, "a": 26}


def test_bfloat16_is_widened_without_rounding(tmp_path: Path) -> None:
    halves = np.arange(65536, dtype="<u2")
    data = halves.tobytes() * 5  # more than one chunk
    header = {"w": entry("BF16", (5, 65536), (0, len(data)))}
    (tmp_path / "x").write_bytes(safetensors_bytes(header, data))
    got = own.read(tmp_path / "x")[0]["w"]
    want = (np.tile(halves, 5).astype(np.uint32) << 16).view(np.float32).reshape(5, 65536)
    same_bits(got, want)


def test_data_that_is_not_aligned_is_read(tmp_path: Path) -> None:
    header = {"a": entry("U8", (1,), (0, 1)), "b": entry("F64", (1,), (1, 9))}
    (tmp_path / "x").write_bytes(safetensors_bytes(header, b"\7" + np.float64(2.5).tobytes()))
    got = own.read(tmp_path / "x")[0]
    same_bits(got["b"], np.array([2.5]))


def test_what_no_file_can_hold() -> None:
    with pytest.raises(DTypeError, match="complex128"):
        own.encode("save", {"w": np.zeros(1, complex)})
    with pytest.raises(DTypeError, match="str to str"):
        own.encode("save", {}, {"epoch": 3})
    with pytest.raises(FormatError, match="keeps this name"):
        own.encode("save", {"__metadata__": np.zeros(1)})
    with pytest.raises(FormatError, match="too much metadata"):
        own.encode("save", {}, {"long": "x" * (8 << 20)})
    with pytest.raises(FormatError, match="not Unicode"):
        own.encode("save", {}, {"text": "\ud800"})


W = '"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
DATA = bytes(4)

# A rule each, the header and the data that break it, and what the error says.
HOSTILE = {
    "not_json": ('{"w"', DATA, "bad header"),
    "not_an_object": ("[1]", DATA, "does not begin with {"),
    "space_first": (" {" + W + "}", DATA, "does not begin with {"),
    "trailing_text": ("{" + W + "} x", DATA, "follows the closing brace"),
    "two_objects": ("{" + W + "}{}", DATA, "follows the closing brace"),
    "trailing_comma": ("{" + W + ",}", DATA, "expected a string"),
    "name_twice": ("{" + W + "," + W + "}", DATA, "'w' twice"),
    "name_twice_escaped": ("{" + W + "," + W.replace("w", "\\u0077") + "}", DATA, "'w' twice"),
    "metadata_twice": ('{"__metadata__":{},"__metadata__":{}}', b"", "twice"),
    "metadata_key_twice": ('{"__metadata__":{"a":"","a":""}}', b"", "twice in the metadata"),
    "metadata_number": ('{"__metadata__":{"a":1}}', b"", "expected a string"),
    "metadata_nested": ('{"__metadata__":{"a":{"b":"c"}}}', b"", "expected a string"),
    "metadata_null": ('{"__metadata__":null}', b"", "not JSON of a safetensors header"),
    "key_twice": (
        '{"w":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', DATA, "twice",
    ),
    "key_unknown_cve_2026_34445": ({"w": {**entry(), "__class__": "x"}}, DATA, "unknown key"),
    "key_missing": ({"w": {"dtype": "F32", "shape": [1]}}, DATA, "needs dtype"),
    "one_offset": ({"w": entry(offsets=[4])}, DATA, "two data_offsets"),
    "three_offsets": ({"w": entry(offsets=[0, 4, 4])}, DATA, "more than 2 numbers"),
    "entry_no_object": ({"w": 1}, DATA, "expected {"),
    "dtype_unknown": ({"w": entry("F31")}, DATA, "unknown element type"),
    "dtype_complex": ({"w": entry("C64", [1], [0, 8])}, bytes(8), "unknown element type"),
    "dtype_lower": ({"w": entry("f32")}, DATA, "unknown element type"),
    "dtype_number": ({"w": entry(4)}, DATA, "expected a string"),
    "size_negative": ({"w": entry(shape=[-1])}, DATA, "not JSON of a safetensors header"),
    "size_fraction": ({"w": entry(shape=[1.5])}, DATA, "bad header"),
    "size_exponent": ('{"w":{"shape":[1e0],"dtype":"F32"}}', DATA, "bad header"),
    "size_leading_zero": ('{"w":{"shape":[01],"dtype":"F32"}}', DATA, "expected , or ]"),
    "size_20_digits": ({"w": entry(shape=[10**19])}, DATA, "bad header"),
    "size_text": ({"w": entry(shape=["1"])}, DATA, "expected an integer"),
    "size_nested": ({"w": entry(shape=[[1]])}, DATA, "expected an integer"),
    "size_truth": ({"w": entry(shape=[True])}, DATA, "bad header"),
    "product_overflows_onnxruntime_28003": (
        {"w": entry(shape=[2**32, 2**32], offsets=[0, 0])}, b"", "too large",
    ),
    "product_overflows_around_zero": (
        {"w": entry(shape=[2**40, 0, 2**40], offsets=[0, 0])}, b"", "too large",
    ),
    "petabytes_cve_2026_34445": (
        {"w": entry("U8", [10**15], [0, 10**15])}, DATA, "does not end with the file",
    ),
    "rank": ({"w": entry(shape=[1] * 33)}, DATA, "more than 32 axes"),
    "rank_huge": ({"w": entry(shape=[1] * 1000)}, DATA, "more than 64 numbers"),
    "bytes_too_few": ({"w": entry(shape=[2])}, DATA, "do not fit the bytes"),
    "bytes_no_multiple_onnx_8109": (
        {"w": entry(offsets=[0, 3])}, bytes(3), "do not fit the bytes",
    ),
    "offsets_swapped": ({"w": entry(offsets=[4, 0])}, DATA, "do not fit the bytes"),
    "offsets_negative": ({"w": entry(offsets=[-4, 0])}, DATA, "not JSON of a safetensors header"),
    "overlap": ({"a": entry(), "b": entry()}, DATA, "overlap or leave a hole"),
    "overlap_in_part": ({"a": entry(), "b": entry(offsets=[2, 6])}, bytes(6), "overlap"),
    "hole": ({"a": entry(), "b": entry(offsets=[8, 12])}, bytes(12), "leave a hole"),
    "hole_first": ({"a": entry(offsets=[4, 8])}, bytes(8), "leave a hole"),
    "trailing_bytes": ({"w": entry()}, bytes(5), "does not end with the file"),
    "data_cut": ({"w": entry()}, bytes(3), "does not end with the file"),
    "empty_beyond_the_end": ({"w": entry(shape=[0], offsets=[8, 8])}, b"", "hole"),
    "truth_value_2": ({"w": entry("BOOL", [2], [0, 2])}, b"\1\2", "neither 0 nor 1"),
    "name_no_utf8": (b'{"\xff":{}}', b"", "not Unicode"),
    "name_overlong_utf8": (b'{"\xc0\x80":{}}', b"", "not Unicode"),
    "name_lone_surrogate": ('{"\\ud800":{}}', b"", "not Unicode"),
    "name_bad_escape": ('{"\\x41":{}}', b"", "does not end"),
    "name_without_end": ('{"abc', b"", "does not end"),
    "name_control_character": ('{"a\nb":{}}', b"", "does not end"),
    "escapes_in_errors_cve_2024_27319": (
        {"\x1b[31m" + "x" * 5000: entry("?")}, DATA, "'\\x1b[31mxxx",
    ),
    "nesting_ghsa_7w46_vvrh_m8q5": ("{" + '"a":[' * 100_000, b"", "bad header"),
    "nesting_of_metadata": ('{"__metadata__":' + '{"a":' * 100_000, b"", "expected a string"),
    "many_metadata": (
        '{"__metadata__":{' + ",".join(f'"{i:x}":""' for i in range(70_000)) + "}}",
        b"", "entries of metadata",
    ),
    "many_empty_tensors": (
        "{" + ",".join(
            f'"{i:x}":{{"dtype":"I8","shape":[0],"data_offsets":[0,0]}}' for i in range(70_000)
        ) + "}",
        b"", "tensors",
    ),
}  # fmt: skip


@pytest.mark.parametrize("rule", HOSTILE)
def test_a_broken_rule_is_named(rule: str, tmp_path: Path) -> None:
    header, data, part = HOSTILE[rule]
    refusal(tmp_path / "x", safetensors_bytes(header, data), part, format="safetensors")


@pytest.mark.parametrize("length", [0, 1, 2**31, 2**63, 2**64 - 1])
def test_a_length_of_the_header_that_is_not_there(length: int, tmp_path: Path) -> None:
    data = length.to_bytes(8, "little") + b"{" + W.encode() + b"}" + DATA
    part = "longer than the file" if length > 1 else "bad header"
    refusal(tmp_path / "x", data, part, format="safetensors")


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    own.write(tmp_path / "x", {"w": np.ones(3), "b": np.ones(2, "i1")}, {"a": "b"})
    data = (tmp_path / "x").read_bytes()
    for size in range(len(data)):
        refusal(tmp_path / "y", data[:size], "", format="safetensors")


def test_tensors_without_elements_may_share_a_place(tmp_path: Path) -> None:
    header = {"a": entry(shape=[0], offsets=[0, 0]), "b": entry(shape=[0, 3], offsets=[0, 0])}
    (tmp_path / "x").write_bytes(safetensors_bytes(header))
    assert {k: a.shape for k, a in own.read(tmp_path / "x")[0].items()} == {"a": (0,), "b": (0, 3)}


def test_a_header_of_wide_escapes_stays_within_the_law(tmp_path: Path) -> None:
    """Two-byte escapes and one sign that widens all others: the dearest text there is."""
    long = "\\n" * (2 << 20) + "a\\t" * (1 << 20) + "\\ud83d\\ude00"
    data = safetensors_bytes('{"__metadata__":{"a":"' + long + '"},"w":1}')
    refusal(tmp_path / "x", data, "expected {", format="safetensors")
