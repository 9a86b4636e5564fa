# SPDX-License-Identifier: Apache-2.0
"""Weights that are stored as bfloat16 or float16: how they round, where they go, who refuses."""

from __future__ import annotations

import copy
import os
import pickle
import warnings

import numpy as np
import pytest

import lamella as lm
from comparators import same_bits
from graphs import ops
from lamella import functional as F
from lamella import nn
from lamella.errors import DTypeError, UnsupportedError
from lamella.ir.types import DType
from lamella.nn.narrow import narrowed, widened
from lamella.runtime.session import compile_call
from lamella.storage import checkpoint

NARROW = ["bfloat16", "float16"]
UNIT = {"bfloat16": 2.0**-8, "float16": 2.0**-11}
# Numbers of float32 by their bits: ties to both sides, the largest, subnormals, zeros, payloads.
HOSTILE = np.array(
    [
        0x00000000, 0x80000000, 0x3F808000, 0x3F818000, 0x3F808001, 0x3F807FFF, 0xBF818000,
        0x7F7F7FFF, 0x7F7F8000, 0xFF7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC12345,
        0x7F800001, 0x7F80FFFF, 0xFFBFFFFF, 0x00000001, 0x00008000, 0x00008001, 0x00018000,
        0x007FFFFF, 0x80007FFF, 0x00400000, 0x477FE000, 0x477FF000, 0x33000000, 0x33000001,
    ],
    np.uint32,
).view(np.float32)  # fmt: skip


# All that is not negative and finite, and where the next number would be.
NUMBERS = (np.arange(0x7F80, dtype=np.uint32) << 16).view(np.float32).astype(np.float64)
LADDER = np.append(NUMBERS, 2.0**128)


def rounded(x: float) -> int:
    """The bits of the bfloat16 next to a double, in exact arithmetic: of two the even one."""
    sign = 0x8000 if np.signbit(x) else 0
    x = abs(x)
    if x >= LADDER[-1]:
        return sign | 0x7F80
    below = int(np.searchsorted(LADDER, x, side="right")) - 1
    under, over = x - LADDER[below], LADDER[below + 1] - x
    return sign | (below + (over < under or (over == under and below % 2 == 1)))


def net_of(rng, dtype="bfloat16"):
    net = nn.Sequential(nn.Linear(40, 72), nn.ReLU(), nn.Linear(72, 6)).eval()
    for parameter in net.parameters():
        parameter.data = rng.normal(size=parameter.shape)
    return net.narrow(dtype)


# ---- rounding


def test_numbers_round_to_the_nearest_or_the_even_one(rng):
    doubles = [1 + 2**-8, 1 + 2**-8 + 2**-40, 1 + 3 * 2**-8 - 2**-50, 3.3961775292304596e38, 1e300]
    for x in [*doubles, *rng.normal(size=4), 2.0**-134, 2.0**-134 * (1 + 2**-30), -(2.0**-140)]:
        assert int(narrowed(np.array([x]), DType.bfloat16)[0]) == rounded(x), x


def test_hostile_numbers():
    got = narrowed(HOSTILE, DType.bfloat16)
    for number, bits in zip(HOSTILE, got, strict=True):
        if np.isnan(number):
            upper = int(number.view(np.uint32)) >> 16
            assert int(bits) == upper | 0x40
        else:
            assert int(bits) == rounded(float(number))
    parameter = nn.Parameter(HOSTILE, dtype="bfloat16")
    assert parameter.bits.tolist() == got.tolist()
    with np.errstate(over="ignore"):
        halves = HOSTILE.astype(np.float16)
    same_bits(np.array(nn.Parameter(HOSTILE, dtype="float16").bits), halves)


def test_the_core_and_numpy_agree(rng):
    """The cast inside programs and the one of parameters have the same bits, both ways."""
    x = np.concatenate([HOSTILE, rng.normal(size=100).astype(np.float32)])
    parameter = nn.Parameter(x, dtype="bfloat16")
    y = np.zeros(1, np.float32)
    _, seen = compile_call(lambda y: (y.exp(), parameter.reshape(-1)), [y]).program.run([y])
    numbers = ~np.isnan(x)
    same_bits(seen[numbers], parameter.numpy()[numbers])
    assert np.isnan(seen[~numbers]).all()


def test_every_bfloat16_goes_there_and_back():
    bits = np.arange(1 << 16, dtype=np.uint16)
    values = widened(bits)
    back = narrowed(values, DType.bfloat16)
    quiet = np.where(np.isnan(values), bits | 0x40, bits)
    assert np.array_equal(back, quiet)


@pytest.mark.parametrize("given", [np.int64(2**60 + 2**52 + 1), np.int64(3), np.uint8(255), True])
def test_integers_round_once(given):
    exact = float(int(given))
    parameter = nn.Parameter([0.0], dtype="bfloat16")
    parameter.data = np.array([given])
    expected = rounded(exact) if abs(exact) < 2**53 else 0x5D81
    assert int(parameter.bits[0]) == expected


# ---- parameters


@pytest.mark.parametrize("dtype", NARROW)
def test_a_parameter_says_what_it_is(dtype):
    parameter = nn.Parameter([1.0, 2.5], dtype=dtype)
    assert parameter.dtype is DType(dtype)
    assert parameter.memory.nbytes == 4
    assert repr(parameter).startswith(f"Parameter of {dtype} containing:")
    shown = np.float32 if dtype == "bfloat16" else np.float16
    for array in (parameter.numpy(), parameter.data, np.asarray(parameter)):
        assert array.dtype == shown
        assert array.tolist() == [1.0, 2.5]
        assert not array.flags.writeable
    assert np.asarray(parameter, np.float64).dtype == np.float64
    parameter.data = [0.1, 1e-3]
    assert np.abs(parameter.numpy() / np.array([0.1, 1e-3]) - 1).max() <= UNIT[dtype]
    with pytest.raises(DTypeError):
        parameter.data = np.array([1j, 2])
    with pytest.raises(lm.ShapeError):
        parameter.data = np.zeros(3)


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("size", [3, 1 << 16])
def test_copies_and_pickles_have_the_same_bits(dtype, size, rng):
    bits = rng.integers(0, 1 << 16, size, np.uint16)
    parameter = nn.Parameter(np.zeros(size), requires_grad=False, dtype=dtype)
    parameter._keep(bits if dtype == "bfloat16" else bits.view(np.float16))
    for other in (pickle.loads(pickle.dumps(parameter)), copy.deepcopy(parameter)):
        assert other.dtype is parameter.dtype
        assert other.requires_grad is False
        assert other.bits.tobytes() == bits.tobytes()
    assert nn.Parameter(parameter).dtype is parameter.dtype
    assert nn.Parameter(parameter, dtype="float32").dtype is DType.float32


def test_other_libraries_arrays():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    given = np.array([1.5, -2.0], ml_dtypes.bfloat16)
    parameter = nn.Parameter([0.0, 0.0], dtype="bfloat16")
    parameter.data = given
    assert parameter.numpy().tolist() == [1.5, -2.0]
    assert nn.Parameter(given).dtype is DType.float32
    assert nn.Parameter(given, dtype="bfloat16").bits.tolist() == given.view(np.uint16).tolist()


# ---- layers and nets


@pytest.mark.parametrize("dtype", NARROW)
def test_a_narrow_net_is_the_net_of_its_rounded_weights(dtype, rng):
    """Float32 sums of float32 inputs: to the bit what a net of the widened weights gives."""
    net = net_of(rng, dtype)
    wide = nn.Sequential(nn.Linear(40, 72), nn.ReLU(), nn.Linear(72, 6)).eval()
    wide.load_state_dict(net.state_dict())
    for rows in (1, 2, 5, 33, 1):
        x = rng.normal(size=(rows, 40)).astype(np.float32)
        y = net(x)
        assert y.dtype == np.float32
        same_bits(y, wide(x))
    before = net(x)
    net[0].weight.data = net[0].weight.numpy() * 2
    assert not np.array_equal(net(x), before)
    wide.load_state_dict(net.state_dict())
    same_bits(net(x), wide(x))


def test_products_read_bfloat16_themselves(rng):
    """No cast is left, and half the bytes are packed; float16 is widened ahead."""
    x = np.zeros((1, 40), np.float32)
    net = net_of(rng, "bfloat16")
    graph = compile_call(net, [x]).graph
    assert ops(graph) == ["dense(w.mT, bias, relu)", "dense(w.mT, bias)"]
    assert not graph.folded()
    assert [leaf.dtype for leaf in graph.parameters()][::2] == [DType.bfloat16] * 2
    graph = compile_call(net.narrow("float16"), [x]).graph
    assert ops(graph) == ["dense(w.mT, bias, relu)", "dense(w.mT, bias)"]
    assert [leaf.dtype for leaf in graph.folded()] == [DType.float32] * 2
    # By its transpose, and beside what else reads it.
    weight = nn.Parameter(rng.normal(size=(40, 40)), dtype="bfloat16")
    x = rng.normal(size=(3, 40)).astype(np.float32)
    (y,) = compile_call(lambda x: x @ weight.T + weight[0], [x]).program.run([x])
    values = weight.numpy()
    same_bits(y, F.add(F.matmul(x, values.T), values[0]))


def test_a_norm_behind_a_narrow_layer_stays(rng):
    net = nn.Sequential(nn.Linear(40, 32), nn.BatchNorm1d(32)).narrow().eval()
    x = rng.normal(size=(5, 40)).astype(np.float32)
    assert len(compile_call(net, [x]).graph.nodes) == 2
    same_bits(net(x), net[1](net[0](x)))


@pytest.mark.parametrize("dtype", NARROW)
def test_the_error_is_the_stated_one(dtype, rng):
    layer = nn.Linear(64, 32)
    layer.weight.data = rng.normal(size=(32, 64))
    x = rng.normal(size=(9, 64)).astype(np.float32)
    exact = x.astype(np.float64) @ layer.weight.array.T.astype(np.float64) + layer.bias.array
    size = np.abs(x) @ np.abs(layer.weight.array).T.astype(np.float64)
    layer.narrow(dtype)
    error = np.abs(layer(x) - exact)
    assert (error <= (UNIT[dtype] + 66 * 2.0**-24) * (size + np.abs(layer.bias.array))).all()
    assert error.max() > 2.0**-24 * size.max()


@pytest.mark.parametrize("dtype", NARROW)
def test_a_layer_is_made_so(dtype):
    lm.manual_seed(3)
    layer = nn.Linear(8, 4, dtype=dtype)
    lm.manual_seed(3)
    wide = nn.Linear(8, 4)
    assert (layer.weight.dtype, layer.bias.dtype) == (DType(dtype), DType.float32)
    same_bits(np.array(layer.weight.numpy()), np.array(wide.narrow(dtype).weight.numpy()))
    assert layer(np.ones((2, 8), np.float16)).dtype == np.float32


def test_what_is_narrowed(rng):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(10, 8)
            self.inner = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.BatchNorm1d(8))
            self.head = nn.Linear(8, 10, bias=False)
            self.head.weight = self.table.weight

        def forward(self, x):
            return self.head(self.inner(self.table(x)))

    net = Tied().narrow()
    kinds = {name: str(one.dtype) for name, one in net.named_parameters()}
    assert kinds.pop("inner.0.weight") == "bfloat16"
    assert set(kinds.values()) == {"float32"}
    net.eval()(np.array([1, 2]))
    net.float()
    assert {str(one.dtype) for one in net.parameters()} == {"float32"}
    net.narrow("float16").double()
    assert {str(one.dtype) for one in net.parameters()} == {"float64"}


def test_forward_reads_them_as_float32(rng):
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 8, dtype="bfloat16")

        def forward(self, x):
            return F.relu(x * self.layer.weight[0] + self.layer.weight.sum())

    net = Own().eval()
    x = rng.normal(size=(3, 8)).astype(np.float32)
    weight = net.layer.weight.numpy()
    same_bits(net(x), F.relu(x * weight[0] + np.float32(F.sum(weight))))
    session = lm.compile(net, x, debug=True)
    same_bits(session(x), net(x))


def test_memory(rng):
    net = nn.Linear(512, 512, bias=False)
    wide = net.weight.memory.nbytes
    net.narrow()
    assert net.weight.memory.nbytes == wide // 2
    net.freeze()
    x = rng.normal(size=(2, 512)).astype(np.float32)
    before = net(x)
    values = net.weight.numpy().copy()
    net.weight.data = values
    same_bits(net(x), before)
    same_bits(np.array(net.weight.numpy()), values)


# ---- what is refused


def test_what_is_refused(rng):
    with pytest.raises(DTypeError, match="bfloat16 or float16"):
        nn.Linear(2, 2).narrow("float32")
    with pytest.raises(DTypeError, match="bfloat16 or float16"):
        nn.Linear(2, 2).narrow("int8")
    with pytest.raises(DTypeError, match=r"Call float\(\) first"):
        nn.Linear(2, 2).double().narrow()
    with pytest.raises(UnsupportedError, match="no dense layers"):
        nn.Sequential(nn.ReLU()).narrow()
    with pytest.raises(DTypeError, match=r'net\.narrow\("bfloat16"\)'):
        nn.LayerNorm(3, dtype="bfloat16")
    with pytest.raises(DTypeError, match=r'net\.narrow\("float16"\)'):
        nn.Linear(2, 2).to(np.float16)
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight.data = np.full((2, 2), 7e4)
    with pytest.raises(ValueError, match=r'beyond the range of float16.*"bfloat16"'):
        net.narrow("float16")
    assert net[0].weight.dtype is DType.float32
    net[1].weight.data = np.full((2, 2), np.inf)
    assert np.isinf(net.narrow("float16")[1].weight.numpy()).all()


def test_optimisers_refuse_them(rng):
    net = net_of(rng)
    with pytest.raises(DTypeError, match=r"net\.float\(\)"):
        lm.optim.SGD(net.parameters(), lr=0.1)
    net.requires_grad_(False)
    head = nn.Linear(6, 2)
    whole = nn.Sequential(net, head)
    # What is frozen may stay: gradients go through it.
    before = net[0].weight.bits.tobytes()
    step = lm.TrainStep(whole, nn.MSELoss(), lm.optim.SGD(whole.parameters(), lr=1e-4))
    x, y = rng.normal(size=(4, 40)).astype(np.float32), np.zeros((4, 2), np.float32)
    first = float(step(x, y))
    for _ in range(5):
        last = float(step(x, y))
    assert last < first
    assert net[0].weight.bits.tobytes() == before
    net.requires_grad_(True)
    with pytest.raises(DTypeError, match="which cannot be learnt"):
        step(x, y)


# ---- files


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("ending", ["safetensors", "npz"])
def test_files(dtype, ending, rng, tmp_path):
    net = net_of(rng, dtype)
    path = tmp_path / f"net.{ending}"
    lm.save(net, path)
    other = net_of(np.random.default_rng(9), dtype)
    other.load_state_dict(lm.load(path))
    for one, two in zip(net.parameters(), other.parameters(), strict=True):
        assert one.bits.tobytes() == two.bits.tobytes()
    if ending == "safetensors":
        kinds = {"bfloat16": b'"BF16"', "float16": b'"F16"'}
        assert path.read_bytes().count(kinds[dtype]) == 2
        assert path.stat().st_size < sum(p.memory.nbytes for p in net.parameters()) + 1000
    wide = nn.Sequential(nn.Linear(40, 72), nn.ReLU(), nn.Linear(72, 6))
    wide.load_state_dict(lm.load(path))
    same_bits(np.array(wide[0].weight.numpy()), net[0].weight.numpy().astype(np.float32))


def test_a_state_that_was_changed_is_saved_wide(rng, tmp_path):
    state = net_of(rng).state_dict()
    changed = {name: array * np.float32(1 + 2**-12) for name, array in state.items()}
    assert type(changed["0.weight"]) is np.ndarray
    written = {name: array.copy() for name, array in state.items()}
    for array in written.values():
        array[...] = array + np.float32(2**-20)
    for number, one in enumerate((changed, written)):
        path = tmp_path / f"{number}.safetensors"
        lm.save(one, path)
        assert b"BF16" not in path.read_bytes()
        same_bits(lm.load(path)["0.weight"], np.asarray(one["0.weight"]))


def test_a_checkpoint_of_a_step(rng, tmp_path):
    net = net_of(rng)
    path = str(tmp_path / "run.checkpoint")
    checkpoint.write(path, net.state_dict(), {})
    found, _ = checkpoint.read(path)
    other = net_of(np.random.default_rng(4))
    other.load_state_dict(found)
    assert other[0].weight.bits.tobytes() == net[0].weight.bits.tobytes()


def test_torchs_files(rng, tmp_path):
    torch = pytest.importorskip("torch")
    layer = torch.nn.Linear(5, 3).bfloat16()
    torch.save(layer.state_dict(), tmp_path / "t.pt")
    ours = nn.Linear(5, 3, dtype="bfloat16")
    ours.load_state_dict(lm.load(tmp_path / "t.pt"))
    assert (
        ours.weight.bits.tolist()
        == layer.weight.detach().view(torch.int16).numpy().view(np.uint16).tolist()
    )


@pytest.mark.parametrize("dtype", NARROW)
def test_modules_pickle(dtype, rng):
    net = net_of(rng, dtype)
    x = rng.normal(size=(3, 40)).astype(np.float32)
    for other in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        same_bits(other(x), net(x))
        assert other[0].weight.dtype is DType(dtype)


@pytest.mark.parametrize("dtype", NARROW)
def test_onnx(dtype, rng, tmp_path):
    """Initialisers of half the bytes and a Cast: other runtimes and our own door read them."""
    onnxruntime = pytest.importorskip("onnxruntime")
    net = net_of(rng, dtype)
    x = rng.normal(size=(3, 40)).astype(np.float32)
    path = str(tmp_path / "net.onnx")
    lm.onnx.save(net, path, x)
    wide = str(tmp_path / "wide.onnx")
    lm.onnx.save(copy.deepcopy(net).float(), wide, x)
    assert os.path.getsize(path) < 0.65 * os.path.getsize(wide)
    same_bits(lm.onnx.load(path)(x), net(x))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (theirs,) = session.run(None, {session.get_inputs()[0].name: x})
    assert np.allclose(theirs, net(x), rtol=1e-4, atol=1e-4)
