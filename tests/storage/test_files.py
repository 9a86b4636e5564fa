# SPDX-License-Identifier: Apache-2.0
"""load and save: what they take, what they tell apart, what they refuse."""

from __future__ import annotations

import os
import pickle
import re
import struct
from pathlib import Path

import numpy as np
import pytest

from comparators import same_bits
from lamella import nn
from lamella.errors import DTypeError, FormatError, UnsupportedError
from lamella.storage import files
from storage.crafted import dict_of, refusal, tensor, torch_bytes

ENDINGS = [".safetensors", ".npz"]


def awkward_arrays() -> dict[str, np.ndarray]:
    """Arrays that no file stores as they lie in memory."""
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    shifted = np.frombuffer(b"\0" + np.arange(3, dtype=np.float64).tobytes(), "u1")[1:].view("<f8")
    read_only = np.arange(3)
    read_only.flags.writeable = False
    return {
        "big": np.arange(5, dtype=">i4"),
        "big.double": np.array(1.5, ">f8"),
        "transposed": x.T,
        "reversed": x[::-1, :, ::-2],
        "broadcast": np.broadcast_to(np.float32(3), (4, 5)),
        "fortran": np.asfortranarray(x),
        "misaligned": shifted,
        "read_only": read_only,
        "scalar": np.array(7, np.int8),
        "empty": x[:0],
        "nan": np.array([np.nan, -0.0, np.inf], np.float16),
    }


@pytest.mark.parametrize("ending", ENDINGS)
def test_any_array_survives(ending: str, tmp_path: Path) -> None:
    want, path = awkward_arrays(), tmp_path / f"x{ending}"
    files.save(want, path)
    got = files.load(path)
    assert got.keys() == want.keys()
    for name, array in want.items():
        native = array.astype(array.dtype.newbyteorder("="), order="C")
        same_bits(np.ascontiguousarray(got[name]).reshape(native.shape), native)
        assert got[name].flags.writeable


@pytest.mark.parametrize("ending", ENDINGS)
def test_saving_what_was_loaded_gives_the_same_bytes(ending: str, tmp_path: Path) -> None:
    files.save(nn.Linear(5, 3), tmp_path / f"a{ending}")
    files.save(files.load(tmp_path / f"a{ending}"), tmp_path / f"b{ending}")
    assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()


@pytest.mark.parametrize("ending", ENDINGS)
def test_modules_parameters_and_lists(ending: str, tmp_path: Path) -> None:
    net, path = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), tmp_path / f"x{ending}"
    files.save(net, path)
    got = files.load(path)
    for name, array in net.state_dict().items():
        same_bits(got[name], np.array(array))
    files.save({"p": net[0].weight, "list": [1, 2], "number": 2.5}, path)
    got = files.load(path)
    same_bits(got["p"], np.array(net[0].weight))
    same_bits(got["list"], np.array([1, 2]))
    same_bits(got["number"], np.array(2.5))


def test_the_content_decides_not_the_name(tmp_path: Path) -> None:
    x = np.arange(6, dtype=np.float32)
    files.save({"w": x}, tmp_path / "a.safetensors")
    files.save({"w": x}, tmp_path / "b.npz")
    (tmp_path / "c").write_bytes(torch_bytes(dict_of(w=tensor((6,), (1,)))))
    np.save(tmp_path / "d.npy", x)
    for i, name in enumerate(["a.safetensors", "b.npz", "c", "d.npy"]):
        os.rename(tmp_path / name, tmp_path / f"{i}.bin")
        (got,) = files.load(tmp_path / f"{i}.bin").values()
        same_bits(got, x)


def test_a_format_that_is_asked_for_is_the_only_one(tmp_path: Path) -> None:
    files.save({"w": np.ones(2)}, tmp_path / "x.npz")
    assert files.load(tmp_path / "x.npz", format="npz").keys() == {"w"}
    for format in ("safetensors", "torch"):
        with pytest.raises(FormatError):
            files.load(tmp_path / "x.npz", format=format)
    with pytest.raises(UnsupportedError, match="no such format"):
        files.load(tmp_path / "x.npz", format="pickle")


def test_what_a_user_gave_is_named_whole(tmp_path: Path) -> None:
    folder = tmp_path / ("a long way down " * 12)
    folder.mkdir()
    with pytest.raises(UnsupportedError, match=re.escape(repr(str(folder / "x.onnxx")))):
        files.save({"w": np.ones(2)}, folder / "x.onnxx")
    files.save({"w": np.ones(2)}, folder / "x.npz")
    with pytest.raises(UnsupportedError, match="encoder" * 40):
        files.load(folder / "x.npz", key="encoder" * 40)
    (folder / "x.npz").write_bytes(b"odd")
    with pytest.raises(FormatError, match=re.escape(repr(str(folder / "x.npz")))):
        files.load(folder / "x.npz")


def test_no_other_reader_is_fallen_back_to_cve_2025_54886(tmp_path: Path) -> None:
    refusal(tmp_path / "x.npz", pickle.dumps({"w": 1}), "bare pickle")
    refusal(tmp_path / "x.npz", pickle.dumps({"w": 1}, 0), "no format known")
    refusal(tmp_path / "x.safetensors", b"", "no format known")
    refusal(tmp_path / "x.pt", b"\x89HDF\r\n\x1a\n" + bytes(100), "no format known")


def test_saving_over_what_was_loaded_safetensors_762(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    want = np.arange(100_000, dtype=np.float32)
    files.save({"w": want}, path)
    got = files.load(path)
    files.save({"w": got["w"][::-1]}, path)
    same_bits(got["w"], want)
    same_bits(files.load(path)["w"], np.array(want[::-1]))


def test_tied_tensors_that_are_stored_once_keras_hub_3075(tmp_path: Path) -> None:
    """save_model of safetensors writes {dropped: kept} into the metadata."""
    x, path = np.arange(6, dtype=np.float32), tmp_path / "x.safetensors"
    metadata = {"head.weight": "embed.weight", "format": "pt", "step": "7", "pt": "embed.weight"}
    files.save({"embed.weight": x, "pt": -x}, path, metadata=metadata)
    got = files.load(path)
    assert list(got) == ["embed.weight", "pt", "head.weight"]
    assert got["head.weight"] is got["embed.weight"]
    same_bits(got["head.weight"], x)
    same_bits(got["pt"], -x)


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(FormatError, match="not a regular file"):
            files.load(path)
    with pytest.raises(FileNotFoundError):
        files.load(tmp_path / "absent")


def test_a_sparse_file_of_a_petabyte_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    size = 1 << 40
    header = f'{{"w":{{"dtype":"U8","shape":[{size}],"data_offsets":[0,{size}]}}}}'.encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    os.truncate(path, 8 + len(header) + size)
    with pytest.raises(FormatError, match="more memory than allowed"):
        files.load(path, max_bytes=1 << 30)


@pytest.mark.parametrize(
    ("state", "error", "part"),
    [
        ({"w": np.zeros(2, complex)}, DTypeError, "complex128"),
        ({"w": np.array(["a"])}, DTypeError, "<U1"),
        ({"w": np.array([{}])}, DTypeError, "object"),
        ({"w": np.zeros(2, "M8[s]")}, DTypeError, "datetime"),
        ({"w": np.zeros(2, np.longdouble)}, DTypeError, "float128"),
        ({"w": [[1], [2, 3]]}, DTypeError, "no array"),
        ({3: np.zeros(2)}, DTypeError, "names are text"),
        ({"\ud800": np.zeros(2)}, FormatError, "not Unicode"),
        (3, TypeError, "a mapping or a module"),
    ],
)
@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_not_saved(
    ending: str, state: object, error: type[Exception], part: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=part):
        files.save(state, tmp_path / f"x{ending}")
    assert os.listdir(tmp_path) == []


def test_endings_and_metadata(tmp_path: Path) -> None:
    for name in ("x", "x.pt", "x.bin"):
        with pytest.raises(UnsupportedError, match=r"\.safetensors or \.npz"):
            files.save({}, tmp_path / name)
    with pytest.raises(UnsupportedError, match="arrays only"):
        files.save({}, tmp_path / "x.npz", metadata={"a": "b"})
    files.save({}, tmp_path / "x.SafeTensors", metadata={"a": "b"})
    assert files.load(tmp_path / "x.SafeTensors") == {}
