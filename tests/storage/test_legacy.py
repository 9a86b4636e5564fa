# SPDX-License-Identifier: Apache-2.0
"""PyTorch's files from before 1.6, made by hand: pickles one behind the other, then storages.

Files that PyTorch itself wrote so are read in tests/parity/test_torch_files.py.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from comparators import same_bits
from lamella.errors import FormatError
from lamella.storage import files, opcodes
from lamella.storage.weights import Weights
from storage.crafted import (
    HOOKS,
    LEGACY,
    SIX,
    cost_of,
    dict_of,
    legacy_bytes,
    named,
    number,
    refusal,
    tensor,
    text,
    tuple_of,
)

PLAIN = tensor((2, 3), (3, 1), view=(b"N",))
X = np.arange(6, dtype=np.float32).reshape(2, 3)


def loaded(path: Path, data: bytes) -> Weights:
    found = cost_of(path, data)
    assert isinstance(found, Weights), found
    return found


def test_a_state_dict_and_what_lies_beside_it(tmp_path: Path) -> None:
    args = named("argparse", "Namespace") + b")\x81" + dict_of(lr=number(1)) + b"b"
    whole = dict_of(state_dict=HOOKS + b"(" + text("w") + PLAIN + b"u", args=args, epoch=number(7))
    found = loaded(tmp_path / "x", legacy_bytes(whole))
    same_bits(found["w"], X)
    assert found.skipped == {"args": "argparse.Namespace", "epoch": "int"}


def test_storages_lie_behind_each_other_whatever_they_hold(tmp_path: Path) -> None:
    """What is skipped has to be passed over: complex, quantised and of one byte."""
    numbers = {
        "b": (3, bytes(range(3))),
        "c": (2, bytes(16)),
        "q": (5, bytes(5)),
        "z": (6, SIX),
    }
    pickled = dict_of(
        model=dict_of(w=tensor((2, 3), (3, 1), key="z"), b=tensor((3,), (1,), key="b", count=3,
                      kind="ByteStorage")),
        c=tensor((2,), (1,), key="c", count=2, kind="ComplexFloatStorage"),
        q=tensor((5,), (1,), key="q", count=5, kind="QInt8Storage"),
    )  # fmt: skip
    found = loaded(tmp_path / "x", legacy_bytes(pickled, numbers))
    same_bits(found["w"], X)
    same_bits(found["b"], np.arange(3, dtype=np.uint8))
    assert found.skipped == {"c": "torch.ComplexFloatStorage", "q": "torch.QInt8Storage"}


def test_views_of_storages_as_the_first_versions_named_them(tmp_path: Path) -> None:
    part = tuple_of(text("9"), number(2), number(3))
    pickled = dict_of(a=tensor((3,), (1,), view=(part,)), b=PLAIN)
    found = loaded(tmp_path / "x", legacy_bytes(pickled))
    same_bits(found["a"], X.reshape(6)[2:5].copy())
    same_bits(found["b"], X)
    beyond = tensor((3,), (1,), view=(tuple_of(text("9"), number(4), number(3)),))
    refusal(tmp_path / "x", legacy_bytes(dict_of(a=beyond)), "no storage of numbers")


def test_files_of_python_2_and_the_first_tensors(tmp_path: Path) -> None:
    """Texts are bytes there, and tensors had four parts."""

    def short(word: bytes) -> bytes:
        return b"U" + bytes([len(word)]) + word

    storage = tuple_of(short(b"storage"), named("torch", "FloatStorage"), short(b"0"),
                       short(b"cpu"), number(6), b"N")  # fmt: skip
    places = tuple_of(storage + b"Q", number(0), tuple_of(number(6)), tuple_of(number(1)))
    first = named("torch._utils", "_rebuild_tensor") + places + b"R"
    pickled = b"}(" + short(b"w") + first + short(b"note") + short(b"\xff\xfe") + b"u"
    found = loaded(tmp_path / "x", legacy_bytes(pickled, keys=b"](" + short(b"0") + b"e"))
    same_bits(found["w"], X.reshape(6))
    assert found.skipped == {"note": "bytes"}


@pytest.mark.parametrize("protocol", range(2, 6))
def test_the_magic_number_of_every_protocol(protocol: int, tmp_path: Path) -> None:
    data = (
        pickle.dumps(0x1950A86A20F9469CFC6C, protocol)
        + legacy_bytes(dict_of(w=PLAIN))[len(LEGACY) :]
    )
    same_bits(loaded(tmp_path / "x", data)["w"], X)


def test_a_pickle_longer_than_what_is_read_at_once(tmp_path: Path) -> None:
    """The window grows; the storage behind it is found all the same."""
    pickled = dict_of(model=dict_of(w=PLAIN), note=text("x" * 3_000_000), last=number(1))
    found = loaded(tmp_path / "x", legacy_bytes(pickled))
    same_bits(found["w"], X)
    assert found.skipped == {"note": "str", "last": "int"}


def test_all_pickles_together_have_a_bound_of_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit, within in ((1000, True), (200, False)):
        monkeypatch.setattr(opcodes, "MAX_STEPS", limit)
        data = legacy_bytes(dict_of(model=dict_of(w=PLAIN), n=b"](" + b"N" * 150 + b"e"))
        if within:
            assert list(loaded(tmp_path / "x", data)) == ["w"]
        else:
            refusal(tmp_path / "x", data, "steps")
    # Each alone would do.
    monkeypatch.setattr(opcodes, "MAX_STEPS", 150)
    machine = b"\x80\x02](" + b"N" * 120 + b"e."
    whole = legacy_bytes(W)
    at = len(LEGACY) + len(pickle.dumps(1001, 2))
    behind = whole[whole.index(b"\x80\x02", at + 2) :]
    refusal(tmp_path / "x", whole[:at] + machine + behind, "steps")
    monkeypatch.setattr(opcodes, "MAX_STEPS", 200)
    same_bits(loaded(tmp_path / "x", whole[:at] + machine + behind)["w"], X)


W = dict_of(w=PLAIN)
HOSTILE = {
    "version": (legacy_bytes(W, version=1000), "another version"),
    "only_the_magic": (LEGACY, "ends early"),
    "no_list_of_keys": (legacy_bytes(W, keys=b"}"), "no list of storages"),
    "a_key_of_no_tensor": (legacy_bytes(W, keys=b"](" + text("7") + b"e"), "that no tensor names"),
    "a_key_that_is_nested": (
        legacy_bytes(W, keys=b"](" + b")" + b"\x85" * 20_000 + b"e"), "that no tensor names",
    ),
    "a_key_twice": (legacy_bytes(W, keys=b"](" + text("0") * 2 + b"e"), "that no tensor names"),
    "a_key_missing": (legacy_bytes(W, {}), "is missing or has another size"),
    "more_elements": (legacy_bytes(W, {"0": (7, SIX)}), "beyond the file"),
    "fewer_elements": (legacy_bytes(W, {"0": (5, SIX[:20])}), "is missing or has another size"),
    "elements_of_64_bits": (legacy_bytes(W, {"0": (-1, SIX)}), "beyond the file"),
    "something_behind": (legacy_bytes(W) + b"\0", "do not end with the file"),
    "unknown_elements": (
        legacy_bytes(dict_of(model=W, o=tensor((6,), (1,), key="1", kind="OddStorage")),
                     {"1": (6, SIX), "0": (6, SIX)}), "or of unknown elements",
    ),
    "a_module": (
        legacy_bytes(tuple_of(text("module"), named("torch.nn", "Linear"), b"N", b"N") + b"Q"
                     + b")\x81"), "'torch.nn.Linear'",
    ),
    "runs": (legacy_bytes(dict_of(w=named("os", "system") + tuple_of(text("x")) + b"R")),
             "'os.system'"),
}  # fmt: skip


@pytest.mark.parametrize("rule", HOSTILE)
def test_a_broken_rule_is_named(rule: str, tmp_path: Path) -> None:
    data, part = HOSTILE[rule]
    refusal(tmp_path / "x", data, part)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    data = legacy_bytes(W)
    for size in range(len(data)):
        refusal(tmp_path / "x", data[:size], "")


def test_a_sparse_file_of_terabytes_costs_nothing(tmp_path: Path) -> None:
    count = 1 << 40
    head = legacy_bytes(dict_of(w=tensor((6,), (1,), count=count)), {"0": (count, b"")})
    path = tmp_path / "x"
    cost_of(path, head)
    with path.open("ab") as file:
        file.truncate(len(head) + 4 * count)
    with pytest.raises(FormatError, match="more memory than allowed"):
        files.load(path, max_bytes=1 << 30)
