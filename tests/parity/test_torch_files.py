# SPDX-License-Identifier: Apache-2.0
"""Files that PyTorch wrote, read without it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from comparators import same_bits
from lamella.errors import FormatError
from lamella.storage import files

torch = pytest.importorskip("torch")

DTYPES = [
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8",
    "uint16", "uint32", "uint64", "bool",
]  # fmt: skip


def numbers(tensor: torch.Tensor) -> np.ndarray:
    tensor = tensor.detach()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).contiguous().numpy()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_dtype_and_view(protocol: int, tmp_path: Path) -> None:
    base = torch.arange(24).reshape(2, 3, 4)
    want = {}
    for name in DTYPES:
        x = (base % 2 if name == "bool" else base).to(getattr(torch, name))
        want |= {
            name: x,
            f"{name}.transposed": x.permute(2, 0, 1),
            f"{name}.slice": x[1, ::2],
            f"{name}.scalar": x[1, 2, 3],
            f"{name}.empty": x[:, :0],
            f"{name}.expanded": x[:1, :1, :1].expand(2, 3, 4),
        }
    want["parameter"] = torch.nn.Parameter(torch.randn(3, 2))
    torch.save(want, tmp_path / "x.pt", pickle_protocol=protocol)
    got = files.load(tmp_path / "x.pt")
    assert list(got) == list(want)
    for name, tensor in want.items():
        same_bits(got[name], numbers(tensor))


@pytest.mark.parametrize("form", ["alone", "state_dict", "model_state_dict", "model"])
def test_the_state_dict_of_a_net(form: str, tmp_path: Path) -> None:
    net = torch.nn.Sequential(
        torch.nn.Conv1d(3, 4, 2), torch.nn.BatchNorm1d(4), torch.nn.LSTM(4, 5)
    )
    optimizer = torch.optim.Adam(net.parameters())
    net[0](torch.randn(2, 3, 7)).sum().backward()
    optimizer.step()
    state = net.state_dict()
    whole = {"epoch": 3, form: state, "optimizer": optimizer.state_dict(), "best": float("inf")}
    torch.save(state if form == "alone" else whole, tmp_path / "x.pth")
    got = files.load(tmp_path / "x.pth")
    assert list(got) == list(state)
    for name, tensor in state.items():
        same_bits(got[name], numbers(tensor))


def test_a_whole_module_is_refused_by_the_name_of_its_class(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 3), tmp_path / "x.pt")
    with pytest.raises(FormatError, match=r"torch\.nn\.modules\.linear\.Linear"):
        files.load(tmp_path / "x.pt")


def test_the_old_format_is_refused_by_name(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(3)}, tmp_path / "x.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(FormatError, match=r"before 1\.6"):
        files.load(tmp_path / "x.pt")


def test_sparse_and_quantised_tensors_are_refused(tmp_path: Path) -> None:
    torch.save({"w": torch.eye(3).to_sparse()}, tmp_path / "x.pt")
    with pytest.raises(FormatError, match="_rebuild_sparse_tensor"):
        files.load(tmp_path / "x.pt")


def test_conjugated_views_are_refused(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(3, dtype=torch.complex64).conj()}, tmp_path / "x.pt")
    with pytest.raises(FormatError, match="ComplexFloatStorage"):
        files.load(tmp_path / "x.pt")
    negative = torch.ones(3, dtype=torch.complex64).conj().imag
    torch.save({"w": negative}, tmp_path / "x.pt")
    with pytest.raises(FormatError):
        files.load(tmp_path / "x.pt")


def test_saved_tensors_of_torch(tmp_path: Path) -> None:
    files.save({"w": torch.ones(2, 3)}, tmp_path / "x.safetensors")
    same_bits(files.load(tmp_path / "x.safetensors")["w"], np.ones((2, 3), np.float32))
