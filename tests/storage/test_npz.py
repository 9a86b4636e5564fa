# SPDX-License-Identifier: Apache-2.0
"""NumPy's files: both ways against NumPy, and archives and headers that break one rule each."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from comparators import same_bits
from lamella.errors import FormatError
from lamella.storage import npz
from storage.crafted import cost_of, npy_bytes, refusal, zip_bytes
from storage.test_safetensors import every_array


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_we_read_what_numpy_writes(write: object, tmp_path: Path) -> None:
    want = {f"n{i}": array for i, array in enumerate(every_array().values())}
    write(tmp_path / "x.npz", **want)  # type: ignore[operator]
    got = npz.read(tmp_path / "x.npz")
    assert got.keys() == want.keys()
    for name, array in want.items():
        same_bits(got[name], array)


def test_numpy_reads_what_we_write(tmp_path: Path) -> None:
    want = {**every_array(), "a.b/c": np.ones(2), "file": np.zeros(1)}
    npz.write(tmp_path / "x.npz", want)
    with np.load(tmp_path / "x.npz", allow_pickle=False) as got:
        assert set(got.files) == set(want)
        for name, array in want.items():
            same_bits(got[name], array)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [">f4", ">i8", ">u2", "<f8", "?"])
def test_orders(dtype: str, order: str, tmp_path: Path) -> None:
    want = np.asarray(np.arange(24).reshape(2, 3, 4) % 2, dtype, order=order)
    np.save(tmp_path / "x.npy", want)
    got = npz.read(tmp_path / "x.npy")["arr_0"]
    assert got.dtype.isnative
    same_bits(np.ascontiguousarray(got), np.asarray(want, want.dtype.newbyteorder("="), order="C"))


def test_the_same_arrays_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        npz.write(tmp_path / name, {"w": np.ones(3)})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    npz.write(tmp_path / "c", npz.read(tmp_path / "a"))
    assert (tmp_path / "c").read_bytes() == (tmp_path / "a").read_bytes()


def test_an_empty_archive(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz")
    assert npz.read(tmp_path / "x.npz") == {}


@pytest.mark.parametrize("name", ["../w", "/w", "a/../../w", "a\\b", "", "a\nb"])
def test_names_that_lead_outside_cve_2022_25882(name: str, tmp_path: Path) -> None:
    refusal(
        tmp_path / "x", zip_bytes({name or "/": npy()}), "leads out of the archive", format="npz"
    )
    with pytest.raises(FormatError, match="no name in an archive"):
        npz.write(tmp_path / "x", {name: np.ones(1)})


def npy(descr: str = "'<f4'", shape: str = "(1,)", data: bytes = bytes(4)) -> bytes:
    return npy_bytes(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}", data)


def test_headers_of_other_writers(tmp_path: Path) -> None:
    for header in (
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1L,)}",
        """{"shape":(1),"fortran_order":False,"descr":'<f4'}  """,
    ):
        found = cost_of(tmp_path / "x", npy_bytes(header, bytes(4)))
        assert isinstance(found, dict)
        assert found["arr_0"].shape == (1,)


HEADERS = {
    "objects": (npy("'|O'"), "no plain element type"),
    "text": (npy("'<U1'"), "no plain element type"),
    "complex": (npy("'<c8'"), "no plain element type"),
    "float128": (npy("'<f16'"), "no plain element type"),
    "time": (npy("'<M8[s]'"), "no plain element type"),
    "record": (npy("[('a', '<f4')]"), "not that of plain numbers"),
    "call": (npy("__import__('os')"), "not that of plain numbers"),
    "size_negative": (npy(shape="(-1,)"), "not that of plain numbers"),
    "size_fraction": (npy(shape="(1.0,)"), "not that of plain numbers"),
    "size_product": (npy(shape="(4294967296, 4294967296)"), "too large"),
    "size_20_digits": (npy(shape="(10000000000000000000,)"), "not that of plain numbers"),
    "rank": (npy(shape="(" + "1," * 33 + ")"), "more than 32 axes"),
    "shape_list": (npy(shape="[1]"), "not that of plain numbers"),
    "key_missing": (npy_bytes("{'descr': '<f4', 'shape': (1,)}", bytes(4)), "plain numbers"),
    "key_more": (
        npy_bytes("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'a': 'b'}", bytes(4)),
        "not that of plain numbers",
    ),
    "key_twice": (
        npy_bytes("{'descr': '<f4', 'descr': '<f8', 'fortran_order': False, 'shape': (1,)}"),
        "a key twice",
    ),
    "nesting": (npy_bytes("(" * 9000), "not that of plain numbers"),
    "spaces": (npy_bytes("{'descr': '<f4', 'shape': (" + " " * 9000), "not that of plain numbers"),
    "header_long": (npy_bytes(" " * 10_001), "too long"),
    "header_cut": (npy()[:40], "too long"),
    "version": (npy_bytes("{}", version=9), "no array in NumPy's format"),
    "data_cut": (npy()[:-1], "do not fit the bytes"),
    "data_more": (npy() + b"x", "do not fit the bytes"),
    "truth_value_2": (npy("'|b1'", data=b"\2"), "neither 0 nor 1"),
}


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("rule", HEADERS)
def test_a_broken_array_is_named(rule: str, inside: bool, tmp_path: Path) -> None:
    data, part = HEADERS[rule]
    refusal(tmp_path / "x", zip_bytes({"w.npy": data}) if inside else data, part)


def patched(data: bytes, mark: bytes, at: int, form: str, value: int) -> bytes:
    """An archive with one field of its last record of this kind changed."""
    found = bytearray(data)
    struct.pack_into(form, found, found.rindex(mark) + at, value)
    return bytes(found)


GOOD = zip_bytes({"a.npy": npy(), "b.npy": npy()})
DIRECTORY, END = b"PK\1\2", b"PK\5\6"

ARCHIVES = {
    "no_end": (GOOD[:-1], "no end of a zip archive"),
    "end_cut": (GOOD[:-22], "no end of a zip archive"),
    "more_behind": (GOOD + b"x", "something follows the end"),
    "more_before": (b"PK\3\4" + GOOD, "does not end where the archive does"),
    "encrypted": (patched(GOOD, DIRECTORY, 8, "<H", 1), "encrypted"),
    "method": (patched(GOOD, DIRECTORY, 10, "<H", 12), "other than deflate"),
    "size_differs": (patched(GOOD, DIRECTORY, 24, "<I", 1 << 20), "sizes that do not fit"),
    "beyond_the_end": (patched(GOOD, DIRECTORY, 20, "<I", 1 << 30), "sizes that do not fit"),
    "offset_beyond": (patched(GOOD, DIRECTORY, 42, "<I", 1 << 30), "lies outside the archive"),
    "offset_of_another": (patched(GOOD, DIRECTORY, 42, "<I", 0), "differs from the directory"),
    "size_64_missing": (patched(GOOD, DIRECTORY, 24, "<I", 0xFFFFFFFF), "64 bits is missing"),
    "checksum": (patched(GOOD, DIRECTORY, 16, "<I", 7), "checksum differs"),
    "directory_damaged": (patched(GOOD, DIRECTORY, 0, "<I", 7), "damaged"),
    "not_npy": (zip_bytes({"a.txt": b"x"}), "no .npy name"),
    "directory_of_another_disk": (patched(GOOD, END, 4, "<H", 1), "several files"),
}


@pytest.mark.parametrize("rule", ARCHIVES)
def test_a_broken_archive_is_named(rule: str, tmp_path: Path) -> None:
    data, part = ARCHIVES[rule]
    refusal(tmp_path / "x", data, part, format="npz")


def test_a_count_that_is_too_low(tmp_path: Path) -> None:
    data = patched(patched(GOOD, END, 8, "<H", 1), END, 10, "<H", 1)
    refusal(tmp_path / "x", data, "more than it says", format="npz")


def test_a_name_twice(tmp_path: Path) -> None:
    data = zip_bytes({"a.npy": npy(), "b.npy": npy()}).replace(b"b.npy", b"a.npy")
    refusal(tmp_path / "x", data, "a name twice", format="npz")


def test_members_that_share_bytes(tmp_path: Path) -> None:
    """The bomb of overlapping members: each is read in full, the bytes are there once."""
    inner = zip_bytes({"b.npy": npy()})
    data = zip_bytes({"a.npy": inner[: inner.index(DIRECTORY)], "b.npy": npy()})
    at = data.index(b"PK\3\4", 4)
    refusal(tmp_path / "x", patched(data, DIRECTORY, 42, "<I", at), "share bytes", format="npz")


def test_a_bomb_is_refused_before_it_goes_off(tmp_path: Path) -> None:
    size = 100 << 20
    data = zip_bytes({"w.npy": npy("'|u1'", f"({size},)", bytes(size))}, deflated=True)
    assert len(data) < size // 500
    refusal(tmp_path / "x", data, "more memory than allowed")
    (tmp_path / "x").write_bytes(data)
    assert npz.read(tmp_path / "x", max_bytes=size)["w"].shape == (size,)


def test_a_bomb_that_lies_about_its_size(tmp_path: Path) -> None:
    data = zip_bytes({"w.npy": npy("'|u1'", "(9000000,)", bytes(9_000_000))}, deflated=True)
    header = len(npy("'|u1'", "(9000000,)", b""))
    for size, part in ((header + 10, "do not fit"), (header + 9_000_001, "do not fit")):
        refusal(tmp_path / "x", patched(data, DIRECTORY, 24, "<I", size), part)
    short = npy("'|u1'", "(4,)", bytes(4)) + bytes(1000)
    data = patched(
        zip_bytes({"w.npy": short}, deflated=True), DIRECTORY, 24, "<I", len(short) - 1000
    )
    refusal(tmp_path / "x", data, "longer than stated")
    short = npy("'|u1'", "(9,)", bytes(4))
    data = patched(zip_bytes({"w.npy": short}, deflated=True), DIRECTORY, 24, "<I", len(short) + 5)
    refusal(tmp_path / "x", data, "ends early")


def test_an_archive_of_many_names(tmp_path: Path) -> None:
    data = zip_bytes({f"{i:x}.npy": b"" for i in range(66_000)})
    refusal(tmp_path / "x", data, "too many members", format="npz")
