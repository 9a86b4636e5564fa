# SPDX-License-Identifier: Apache-2.0
"""Right files with wrong bytes in them, and wrong ones from the start: only FormatError comes out.

`cost_of` holds each of them to the law of memory as well. A file that is still accepted must hold
arrays that can be read from end to end.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lamella.errors import FormatError
from lamella.storage import checkpoint, files
from storage.crafted import (
    cost_of,
    dict_of,
    legacy_bytes,
    npy_bytes,
    number,
    safetensors_bytes,
    tensor,
    text,
    torch_bytes,
    zip_bytes,
)

ARRAYS = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([True, False])}

# The file system serves all examples; each writes its bytes anew.
FEW = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A right file of each format."""
    folder = tmp_path_factory.mktemp("seeds")
    files.save(ARRAYS, folder / "a.safetensors", metadata={"k": "v\n"})
    files.save(ARRAYS, folder / "b.npz")
    np.savez_compressed(folder / "c.npz", **ARRAYS)
    np.save(folder / "d.npy", ARRAYS["w"])
    checkpoint.write(folder / "e", ARRAYS, {"epoch": 1})
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    pickled = dict_of(state_dict=dict_of(w=tensor((2, 3), (3, 1))), epoch=number(2))
    return {**found, "f.pt": torch_bytes(pickled), "g.pth": legacy_bytes(pickled)}


def judge(path: Path, data: bytes) -> None:
    for format in (None, "safetensors", "npz", "torch"):
        found = cost_of(path, data, format=format)
        if not isinstance(found, FormatError):
            for array in found.values():
                assert array.dtype.kind in "fiub"
                array.sum()
    try:
        checkpoint.read(path)
    except FormatError:
        pass
    else:
        raise AssertionError("a changed checkpoint was accepted")


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["set", "cut", "insert", "repeat"]),
        st.floats(0, 1, exclude_max=True),
        st.one_of(
            st.binary(min_size=1, max_size=4),
            st.sampled_from([b"\xff" * 4, b"\xff" * 8, b"\0" * 8, b"\0\0\0\x80", b"9" * 15, b"-1"]),
        ),
    ),
    min_size=1,
    max_size=4,
)


@FEW
@given(
    name=st.sampled_from(["a.safetensors", "b.npz", "c.npz", "d.npy", "e", "f.pt", "g.pth"]),
    changes=CHANGES,
)
def test_right_files_with_wrong_bytes(
    name: str, changes: list[tuple[str, float, bytes]], seeds: dict[str, bytes], tmp_path: Path
) -> None:
    data = seeds[name]
    for kind, where, piece in changes:
        at = int(where * len(data))
        if kind == "set":
            data = data[:at] + piece + data[at + len(piece) :]
        elif kind == "cut":
            data = data[:at] + data[at + len(piece) :]
        elif kind == "insert":
            data = data[:at] + piece + data[at:]
        else:
            data = data[: at + 1] + data[at // 2 :]
    if data != seeds["e"]:
        judge(tmp_path / "x", data)


NUMBERS = st.one_of(st.integers(0, 30), st.sampled_from([-1, 2**31, 2**63 - 1, 2**63, 2**64, 1.5]))
ENTRIES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "U8", "BOOL", "BF16", "F64", "", 3, None]),
        "shape": st.lists(NUMBERS, max_size=3),
        "data_offsets": st.lists(NUMBERS, min_size=1, max_size=3),
    }
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=10,
)


@FEW
@given(
    header=st.dictionaries(
        st.one_of(st.sampled_from(["w", "b", "__metadata__"]), st.text(max_size=4)),
        st.one_of(ENTRIES, JSON),
        max_size=4,
    ),
    size=st.integers(0, 60),
    ascii=st.booleans(),
)
def test_headers_of_safetensors(
    header: dict[str, object], size: int, ascii: bool, tmp_path: Path
) -> None:
    head = json.dumps(header, ensure_ascii=ascii).encode("utf-8", "surrogatepass")
    judge(tmp_path / "x", safetensors_bytes(head, bytes(size)))


PARTS = st.sampled_from(
    ["'<f4'", "'descr'", ":", ",", "{", "}", "(", ")", "1", " ", "True", "'", "\n"]
)


@FEW
@given(
    header=st.one_of(
        st.lists(PARTS, max_size=20).map("".join),
        st.tuples(
            st.sampled_from(["<f4", ">i2", "|b1", "|u1", "=f8", "<c8", "|O", "f4"]),
            st.booleans(),
            st.lists(NUMBERS, max_size=3).map(tuple),
        ).map(lambda t: str({"descr": t[0], "fortran_order": t[1], "shape": t[2]})),
    ),
    size=st.integers(0, 40),
    deflated=st.booleans(),
)
def test_headers_of_npy(header: str, size: int, deflated: bool, tmp_path: Path) -> None:
    data = npy_bytes(header, bytes(size))
    judge(tmp_path / "x", data)
    judge(tmp_path / "x", zip_bytes({"w.npy": data}, deflated=deflated))


INSTRUCTIONS = st.one_of(
    st.sampled_from(
        [
            *(
                bytes([code])
                for code in b"()]}taesubRQN\x88\x94\x85\x86\x87\x93\x81\x8f\x90\x91\x92o012"
            ),
            *(b"q\0", b"h\0", text("w"), dict_of(w=b"N")),
            *(tensor((2, 3), (3, 1)), tensor((2**20,), (0,)), tensor((7,), (1,))),
            *(b"ctorch\nSize\n", b"ccollections\nOrderedDict\n", b"ctorch\nFloatStorage\n"),
            b"cos\nsystem\n",
            *(b"cnumpy\ndtype\n", b"X\2\0\0\0f4", b"C\4abcd", b"c_codecs\nencode\n"),
            b"cnumpy.core.multiarray\n_reconstruct\n",
        ]
    ),
    st.integers(-300, 2**40).map(number),
    st.binary(min_size=1, max_size=3),
)


@FEW
@given(program=st.lists(INSTRUCTIONS, max_size=30).map(b"".join))
def test_programs_of_pickle(program: bytes, tmp_path: Path) -> None:
    judge(tmp_path / "x", torch_bytes(program))
    judge(tmp_path / "x", torch_bytes(dict_of(w=tensor((6,), (1,))) + program))
    judge(tmp_path / "x", legacy_bytes(dict_of(w=tensor((6,), (1,)), v=program)))
