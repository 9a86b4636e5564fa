# SPDX-License-Identifier: Apache-2.0
"""Files that PyTorch wrote, read without it."""

from __future__ import annotations

import argparse
import collections
import datetime
import enum
import functools
import os
import pathlib
import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comparators import same_bits
from lamella import nn
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


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_dtype_and_view(protocol: int, zipped: bool, tmp_path: Path) -> None:
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
    options = {"pickle_protocol": protocol, "_use_new_zipfile_serialization": zipped}
    torch.save(want, tmp_path / "x.pt", **options)
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


class AttributeDict(dict):
    """As Lightning's hyper-parameters."""


class Color(enum.Enum):
    RED = 1


class Odd:
    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held = torch.ones(2)


def trained() -> tuple[torch.nn.Module, dict[str, Any]]:
    """A net, and optimisers and schedules that have been used on it."""
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    adam = torch.optim.Adam(net.parameters())
    sgd = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    rate = torch.optim.lr_scheduler.OneCycleLR(sgd, 0.1, total_steps=10)
    net(torch.randn(5, 3)).sum().backward()
    adam.step()
    sgd.step()
    rate.step()
    return net, {"adam": adam.state_dict(), "sgd": sgd.state_dict(), "rate": rate.state_dict()}


def checkpoints() -> dict[str, Any]:
    """What scripts and trainers save around one state dict."""
    net, used = trained()
    state = net.state_dict()
    attributed = {name: torch.nn.Buffer(tensor.clone()) for name, tensor in state.items()}
    return {
        "lightning": {
            "state_dict": state, "epoch": 3, "pytorch-lightning_version": "2.2",
            "callbacks": {
                "ModelCheckpoint{'monitor': 'val'}": {
                    "best_model_score": torch.tensor(0.3), "best_k_models": {"a": torch.ones(())},
                },
                "EarlyStopping{}": {"wait_count": 0, "best_score": torch.tensor(0.1)},
            },
            "optimizer_states": [used["adam"]], "lr_schedulers": [used["rate"]],
            "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 2}}}},
            "hyper_parameters": AttributeDict(lr=0.1, act=torch.nn.ReLU, path=pathlib.Path("a")),
            "datamodule_hyper_parameters": collections.OrderedDict(batch=3),
        },
        "imagenet": {
            "epoch": 1, "arch": "resnet18", "state_dict": state, "best_acc1": torch.tensor(77.0),
            "optimizer": used["sgd"], "scheduler": used["rate"],
        },
        "numpy": {
            "model": state, "best": np.float64(0.9), "seen": np.int64(3), "done": np.bool_(True),
            "curve": np.arange(5.0), "turned": np.asfortranarray(np.ones((2, 3))),
            "objects": np.array([{}, None]), "texts": np.array(["a"]), "day": np.datetime64("2020"),
            "masked": np.ma.masked_array([1, 2], [0, 1]), "table": np.zeros(2, [("a", "f4")]),
        },
        "random": {
            "net": state, "numpy": np.random.default_rng(0).bit_generator.state,
            "legacy": np.random.RandomState(0).get_state(), "generator": np.random.default_rng(3),
            "python": random.getstate(), "torch": torch.get_rng_state(),
        },
        "objects": {
            "state_dict": state, "args": argparse.Namespace(lr=0.1, log=print), "odd": Odd(),
            "color": Color.RED, "time": datetime.datetime.now(), "make": functools.partial(print),
            "path": pathlib.Path("a"), "join": os.path.join, "device": torch.device("cpu"),
            "dtype": torch.float32, "size": torch.Size([2]), "net": torch.nn.Linear(2, 2),
            "set": {1, 2}, "frozen": frozenset([1]), "counts": collections.Counter("abc"),
            "default": collections.defaultdict(list, a=[1]), "bytes": b"a\xff", "big": 10**50,
            "array": bytearray(b"ab"), "keys": {(1, 2): 3, 2.5: 1, None: 2, True: 4, 2**40: 5},
            "long": "x" * 5000 + "\u20ac", "storage": torch.ones(3).untyped_storage(), "c": 1j,
        },
        "tensors of other kinds": {
            "state_dict": state, "sparse": torch.eye(3).to_sparse(), "c": torch.ones(2) * 1j,
            "quantised": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
            "conjugate": (torch.ones(2) * 1j).conj(), "negative": (torch.ones(2) * 1j).conj().imag,
            "meta": torch.ones(2, device="meta"), "f8": torch.ones(2).to(torch.float8_e4m3fn),
        },
        "ema": {"ema": {"decay": 0.9, "shadow": state}, "step": 3},
        "its own name": {"weights_of_step_3": state, "epoch": 1, "rng": torch.get_rng_state()},
        "a pair": (state, used["adam"]),
        "settings inside": {**state, "height": 192, "hist": [1.0, 2.0], "optimizer": used["adam"]},
        "extra state": {"state_dict": {**state, "0._extra_state": {"lr": np.float64(3)}}},
        "buffers": attributed,
        "parameters": {"model": {n: torch.nn.Parameter(t, False) for n, t in attributed.items()}},
        "arrays": {"params": {name: tensor.numpy() for name, tensor in state.items()}},
    }  # fmt: skip


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # PyTorch would rather not have quantised tensors any more
    CHECKPOINTS = checkpoints()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_the_state_dict_of_a_run(name: str, zipped: bool, tmp_path: Path) -> None:
    saved, state = CHECKPOINTS[name], CHECKPOINTS["imagenet"]["state_dict"]
    for protocol in (2, 4, 5):
        options = {"pickle_protocol": protocol, "_use_new_zipfile_serialization": zipped}
        torch.save(saved, tmp_path / "x.pt", **options)
        got = files.load(tmp_path / "x.pt")
        assert set(got) == set(state)
        for entry, tensor in state.items():
            same_bits(got[entry], numbers(tensor))
        if isinstance(saved, dict) and not set(saved) & set(state):
            kept = {entry.split(".")[0] for entry in got.skipped}
            assert set(saved) - kept <= {"state_dict", "model", "net", "params", *list(saved)[:1]}


def test_what_is_skipped_is_named(tmp_path: Path) -> None:
    torch.save(CHECKPOINTS["objects"], tmp_path / "x.pt")
    skipped = files.load(tmp_path / "x.pt").skipped
    assert skipped["args"] == "argparse.Namespace"
    assert skipped["net"] == "torch.nn.modules.linear.Linear"
    assert skipped["color"].endswith(".Color")
    assert skipped["default"] == "dict"


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
def test_tensors_that_share_a_storage(zipped: bool, tmp_path: Path) -> None:
    flat = torch.arange(10.0)
    want = {"a": flat[:6].view(2, 3), "b": flat[6:], "all": flat, "odd": flat[::3], "tied": flat}
    torch.save(want, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    got = files.load(tmp_path / "x.pt")
    for name, tensor in want.items():
        same_bits(got[name], numbers(tensor))
    got["all"][:] = -1
    for name in ("a", "b", "odd", "tied"):
        same_bits(got[name], numbers(want[name]))


def test_large_tied_tensors_of_bfloat16_keep_to_the_bound(tmp_path: Path) -> None:
    """Widened and once more for the other name: four times what the file holds of it."""
    table, rest = torch.ones(13 << 20).bfloat16(), torch.ones(22 << 20).bfloat16()
    torch.save({"embed": table, "head": table, "rest": rest}, tmp_path / "x.pt")
    got = files.load(tmp_path / "x.pt")
    assert {name: len(array) for name, array in got.items()} == {
        "embed": 13 << 20, "head": 13 << 20, "rest": 22 << 20,
    }  # fmt: skip


def test_a_tied_net_by_safetensors_transformers_38870(tmp_path: Path) -> None:
    original = pytest.importorskip("safetensors.torch")
    theirs = torch.nn.ModuleDict({"a": torch.nn.Linear(3, 3), "b": torch.nn.Linear(3, 3)})
    theirs["b"].weight = theirs["a"].weight
    original.save_model(theirs, str(tmp_path / "x.safetensors"))
    ours = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)})
    ours.load_state_dict(files.load(tmp_path / "x.safetensors"))  # not tied: both names
    for name, tensor in theirs.state_dict().items():
        same_bits(np.array(ours.state_dict()[name]), numbers(tensor))


@pytest.mark.filterwarnings("ignore:torch.ao.quantization")
def test_sparse_and_quantised_tensors_are_refused(tmp_path: Path) -> None:
    torch.save({"w": torch.eye(3).to_sparse()}, tmp_path / "x.pt")
    with pytest.raises(FormatError, match="_rebuild_sparse_tensor"):
        files.load(tmp_path / "x.pt")
    linear = torch.nn.Sequential(torch.nn.Linear(2, 2))
    quantised = torch.ao.quantization.quantize_dynamic(linear, {torch.nn.Linear})
    torch.save(quantised.state_dict(), tmp_path / "x.pt")
    with pytest.raises(FormatError, match="_packed_params"):
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
