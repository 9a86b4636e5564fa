# SPDX-License-Identifier: Apache-2.0
"""Written models: agreed by onnx.checker, its ReferenceEvaluator, ONNX Runtime and our reader."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import lamella as lm
from graphs import Functional
from lamella import functional as F
from lamella import nn
from lamella.errors import UnsupportedError

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
import onnx
import onnxruntime as runtime
from onnx.reference import ReferenceEvaluator

RNG = np.random.default_rng(5)
X = RNG.normal(size=(3, 8)).astype(np.float32)
ACTIVATIONS = [
    nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(0.2), nn.ELU(1.5), nn.SELU(), nn.CELU(0.7), nn.GELU(),
    nn.GELU("tanh"), nn.SiLU(), nn.Mish(), nn.Sigmoid(), nn.Tanh(), nn.Softplus(), nn.Softplus(2.0),
    nn.Softsign(), nn.Hardtanh(-0.5, 0.7), nn.Hardsigmoid(), nn.Hardswish(), nn.Hardshrink(),
    nn.Softshrink(), nn.Tanhshrink(), nn.Threshold(0.1, 0.3), nn.LogSigmoid(), nn.Softmax(-1),
    nn.LogSoftmax(1), nn.Softmin(0), nn.GLU(), nn.PReLU(), nn.PReLU(8),
]  # fmt: skip


FUNCTIONS = {
    "reductions": lambda x: (x.sum(1), x.mean((0, 1)), x.amax(0), x.amin(1, True), x.prod(0)),
    "statistics": lambda x: (x.var(1), x.std(0), x.logsumexp(1), x.argmax(1), x.argmin(0, True)),
    "all": lambda x: (x.argmax(), x.sum(), x.var()),
    "slices": lambda x: (x[:, 1:5:2], x[:, ::-1], x[0], x[..., -1:], x[1:2, 3]),
    "joins": lambda x: F.cat([x, x * 2], 1),
    "stack": lambda x: F.stack([x, -x], 0),
    "pads": lambda x: F.pad(x, (1, 2, 0, 3), value=1.5),
    "shapes": lambda x: x.reshape(2, 12).transpose(0, 1).unsqueeze(1).expand(12, 4, 2),
    "comparisons": lambda x: (x > 0, x != x, F.where(x <= 0.5, x, 0.0), F.logical_not(x >= 1)),
    "arithmetic": lambda x: (x % 0.3, x // 0.3, abs(x) ** 1.5, F.maximum(x, 0.1)),
    "elementary": lambda x: (F.expm1(x), F.log1p(x * x), F.erfc(x), F.sign(x), F.rsqrt(x * x + 1)),
    "rounding": lambda x: (F.round(x), F.ceil(x), F.floor(x)),
    "products": lambda x: (x @ x.T, x.reshape(3, 2, 4) @ x.reshape(3, 2, 4).mT, x[0] @ x[1]),
    "rearranging": lambda x: (F.roll(x, 2, 1), F.flip(x, 1), F.tril(x), F.diagonal(x, 1)),
    "continued": lambda x: (F.pad(x, (2, 1), "reflect"), F.pad(x, (2, 1, 1, 0), "circular")),
    "einsum": lambda x: F.einsum("bi,bj,cj->bci", x, x, x),
    "attention": lambda x: F.scaled_dot_product_attention(x, x[:2], x[:2], x[:, :2] > 0),
    "lengths": lambda x: (F.normalize(x), F.norm(x, 3.0), F.hypot(x, x[:1]), F.logaddexp(x, x[0])),
    "truth": lambda x: (
        (x > 0) & (x < 1), ~(x > 0), (x > 0) + (x > 1), (x > 0) < (x > 1), (x > 0) >= (x > 1),
        (x > 0).sum(1), (x > 0).any(1), (x > 2).all((0, 1)), (x > 0).amax(0), F.any(x, 1),
    ),
    "casts": lambda x: ((x > 0).to("float32"), x.double().float()),
}  # fmt: skip


def check(net: nn.Module, *inputs: np.ndarray, rtol: float = 1e-5) -> bytes:
    """All four agree; a few roundings apart, which sums of this size do not exceed."""
    net.eval()
    data = lm.onnx.encode(net, *inputs)
    model = onnx.load_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    want = net(*inputs)
    want = want if isinstance(want, tuple) else (want,)
    names = [info.name for info in model.graph.input]
    feed = dict(zip(names, inputs, strict=True))
    with warnings.catch_warnings():
        # The evaluator warns where NumPy does.
        warnings.simplefilter("ignore")
        results = {
            "ReferenceEvaluator": ReferenceEvaluator(model).run(None, feed),
            "ONNX Runtime": runtime.InferenceSession(data).run(None, feed),
            "lamella": lm.onnx.load(data)(*inputs),
        }
    for who, got in results.items():
        got = got if isinstance(got, list | tuple) else (got,)
        assert len(got) == len(want), who
        for a, b in zip(got, want, strict=True):
            assert a.dtype == b.dtype, who
            np.testing.assert_allclose(a, b, rtol=rtol, atol=2e-6, err_msg=who)
    return data


@pytest.mark.parametrize("layer", ACTIVATIONS, ids=repr)
def test_activations(layer) -> None:
    check(layer, X)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str) -> None:
    check(Functional(FUNCTIONS[name]), X)


WHOLE = {
    "arithmetic": lambda i: (i + 3, 2 - i, i * i, -i, abs(i), F.sign(i), F.relu(i), i.clamp(2, 5)),
    "quotients": lambda i: (i // 3, i % 3, i // -3, i % -3, i // (i - i), i % (i - i), 7 // i),
    "bits": lambda i: (i & 6, i | 1, i ^ 5, ~i),
    "comparisons": lambda i: (i != 0, i < 3, i >= 300, F.where(i == 2, i, 7)),
    "reductions": lambda i: (i.sum(1), i.prod(0), i.amax(1), i.amin(0, True), i.any(1), i.all()),
    "positions": lambda i: (i.argmax(1), i.argmin(), i.argmax(0, True)),
    "types": lambda i: (i.float() / 2, i / 4, i.long() * 300, i.bool(), i * 0.5),
    "moves": lambda i: (i.T, i[:, ::2], F.cat([i, i]), F.pad(i, (1, 1), value=3)),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "int8"])
@pytest.mark.parametrize("name", WHOLE)
def test_functions_of_integers(name: str, dtype: str) -> None:
    low = 0 if dtype == "uint8" else -9
    x = RNG.integers(low, 9, (4, 6)).astype(dtype)
    body = WHOLE[name]
    if dtype == "uint8" and name == "quotients":
        # Of no type here beside a negative number.
        body = lambda i: (i // 3, i % 3, i // (i - i), i % (i - i), 7 // i)  # noqa: E731
    check(Functional(body), x)


def test_functions_of_integers_without_a_form() -> None:
    for body in (lambda i: i << 2, lambda i: i >> 1, lambda i: i**3):
        with pytest.raises(UnsupportedError, match=r"no operator does this with this type; got .*"):
            lm.onnx.encode(Functional(body), np.arange(6).reshape(2, 3))


LAYERS = {
    "linear": nn.Linear(8, 3),
    "no bias": nn.Linear(8, 3, bias=False),
    "layer norm": nn.LayerNorm(8),
    "plain layer norm": nn.LayerNorm(8, elementwise_affine=False),
    "rms norm": nn.RMSNorm(8),
    "batch norm": nn.BatchNorm1d(8),
    "group norm": nn.GroupNorm(2, 8),
    **{
        f"{type(one).__name__}": nn.Sequential(nn.Unflatten(1, shape), one, nn.Flatten())
        for one, shape in (
            (nn.InstanceNorm1d(2, affine=True), (2, 4)),
            (nn.InstanceNorm2d(2, track_running_stats=True), (2, 2, 2)),
            (nn.InstanceNorm3d(2), (2, 1, 2, 2)),
            (nn.LocalResponseNorm(3, 0.5), (4, 2)),
            (nn.Softmax2d(), (2, 2, 2)),
        )
    },
    "flatten": nn.Sequential(nn.Unflatten(1, (2, 4)), nn.Flatten()),
    "dropout": nn.Sequential(nn.Linear(8, 4), nn.Dropout(0.5), nn.Identity()),
    "mlp": nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 2), nn.Softmax(-1)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_have_a_free_batch(name: str) -> None:
    net = LAYERS[name]
    data = check(net, X)
    assert onnx.load_from_string(data).graph.input[0].type.tensor_type.shape.dim[0].dim_param
    session, loaded = runtime.InferenceSession(data), lm.onnx.load(data)
    for batch in (1, 7, 64):
        x = RNG.normal(size=(batch, 8)).astype(np.float32)
        want = net(x)
        (got,) = session.run(None, {session.get_inputs()[0].name: x})
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=2e-6)
        np.testing.assert_allclose(loaded(x), want, rtol=1e-5, atol=2e-6)


def test_embedding_and_maxout() -> None:
    check(nn.Maxout(4), X)
    check(nn.Embedding(10, 4), np.array([[1, 9, 0], [3, 3, 2]]))


@pytest.mark.parametrize("dim", [0, 1])
def test_entries_replaced_are_one_program(dim: int) -> None:
    """Where they are is known when it runs, what they are and the whole too."""
    index, source = np.array([2, 0]), RNG.normal(size=X.shape).astype(np.float32)
    source = source.take([0, 1], dim)
    data = check(
        Functional(lambda x, i, s: F.index_copy(x * 2, dim, i, s).tanh()), X, index, source
    )
    loaded = lm.onnx.load(data)
    assert loaded.summary(X, index, source).total_macs == 0  # of stages no summary is known
    with pytest.raises(IndexError, match="got 8"):
        loaded(X, np.array([0, 8]), source)


@pytest.mark.parametrize("batch", [1, 2])
def test_a_token_written_into_a_cache(batch: int) -> None:
    """TensorScatter with the position as an input: of one sequence in a program, else in stages."""
    helper, kinds = onnx.helper, onnx.TensorProto
    cache, one = (batch, 2, 6, 4), (batch, 2, 1, 4)
    infos = [
        helper.make_tensor_value_info("past", kinds.FLOAT, cache),
        helper.make_tensor_value_info("update", kinds.FLOAT, one),
        helper.make_tensor_value_info("where", kinds.INT64, (batch,)),
    ]
    nodes = [
        helper.make_node("TensorScatter", ["past", "update", "where"], ["y"]),
        helper.make_node("Neg", ["y"], ["z"]),
    ]
    result = helper.make_tensor_value_info("z", kinds.FLOAT, cache)
    graph = helper.make_graph(nodes, "cache", infos, [result])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)], ir_version=11)
    net = lm.onnx.load(model.SerializeToString())
    past, update = (RNG.normal(size=shape).astype(np.float32) for shape in (cache, one))
    for position in (3, 0, 5):
        where, want = np.arange(position, position - batch, -1) % 6, past.copy()
        for row, place in enumerate(where):
            want[row, :, place] = update[row, :, 0]
        np.testing.assert_array_equal(net(past, update, where), -want)
    if batch == 1:
        assert net.summary(past, update, where).total_macs == 0  # of stages no summary is known
    with pytest.raises((IndexError, ValueError), match=r"got 6|outside"):
        net(past, update, np.full(batch, 6))


CLASSES = np.array([2, 0, 5])
SIGNS = np.where(RNG.random((3, 8)) > 0.5, 1, -1).astype(np.float32)
PROBABILITIES = F.softmax(X, -1)
Y = RNG.normal(size=(3, 8)).astype(np.float32)
# Losses, and what takes several inputs; all others of lamella.nn are above.
SEVERAL = {
    nn.CrossEntropyLoss: (X, CLASSES),
    nn.NLLLoss: (F.log_softmax(X, -1), CLASSES),
    nn.BCELoss: (PROBABILITIES, PROBABILITIES[::-1].copy()),
    nn.BCEWithLogitsLoss: (X, PROBABILITIES),
    nn.MSELoss: (X, Y),
    nn.L1Loss: (X, Y),
    nn.SmoothL1Loss: (X, Y),
    nn.HuberLoss: (X, Y),
    nn.KLDivLoss: (F.log_softmax(X, -1), PROBABILITIES),
    nn.PoissonNLLLoss: (X, np.abs(Y)),
    nn.GaussianNLLLoss: (X, Y, np.abs(Y) + 0.1),
    nn.HingeEmbeddingLoss: (X, SIGNS),
    nn.SoftMarginLoss: (X, SIGNS),
    nn.CosineEmbeddingLoss: (X, Y, SIGNS[:, 0]),
    nn.CosineSimilarity: (X, Y),
    nn.Bilinear: (X, Y),
}


@pytest.mark.parametrize("kind", SEVERAL, ids=lambda kind: kind.__name__)
def test_several_inputs(kind) -> None:
    check(nn.Bilinear(8, 8, 4) if kind is nn.Bilinear else kind(), *SEVERAL[kind])


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_classes_with_weights(reduction: str) -> None:
    weight = np.linspace(0.5, 2, 8).astype(np.float32)
    options = {"weight": weight, "ignore_index": 5, "label_smoothing": 0.1}
    check(nn.CrossEntropyLoss(reduction=reduction, **options), X, CLASSES)


def test_every_layer_is_written() -> None:
    """A layer that comes to lamella.nn comes to this file."""
    shown = {type(module) for net in (*ACTIVATIONS, *LAYERS.values()) for module in net.modules()}
    shown |= {*SEVERAL, nn.Embedding, nn.Maxout}
    layers = {found for name in nn.__all__ if isinstance(found := getattr(nn, name), type)
              and issubclass(found, nn.Module) and "forward" in vars(found)}  # fmt: skip
    # Containers compute nothing, and Module is what a user's own nets are.
    silent = {nn.Module, nn.ModuleList, nn.ModuleDict, nn.ParameterList}
    assert layers - shown - silent == set()


def test_draws_are_written() -> None:
    net = Functional(lambda x: (F.rand_like(x), x + F.randn(3, 8), F.bernoulli(x * 0 + 0.5)))
    data = lm.onnx.encode(net, np.zeros((3, 8), np.float32))
    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    session = runtime.InferenceSession(data)
    (name,) = [one.name for one in session.get_inputs()]
    first, second = (session.run(None, {name: np.zeros((3, 8), np.float32)}) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert a.shape == (3, 8)
        assert a.dtype == np.float32
        assert (a != b).any()
    assert 0 <= first[0].min() < first[0].max() < 1
    assert set(first[2].ravel()) == {0.0, 1.0}


def test_names_survive() -> None:
    net = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    loaded = lm.onnx.load(lm.onnx.encode(net, X))
    state = loaded.state_dict()
    assert set(state) == set(net.state_dict())
    assert all((state[name] == value).all() for name, value in net.state_dict().items())
    again = lm.onnx.load(lm.onnx.encode(loaded, X))
    assert again.input_names == loaded.input_names
    np.testing.assert_array_equal(again(X), net(X))


def test_modes_are_put_back() -> None:
    net = nn.Sequential(nn.Linear(8, 4), nn.Dropout(0.5))
    net[0].eval()
    lm.onnx.encode(net, X)
    assert (net.training, net[0].training, net[1].training) == (True, False, True)


def test_what_depends_on_the_batch_is_fixed() -> None:
    data = check(Functional(lambda x: x * float(x.shape[0])), X)
    assert onnx.load_from_string(data).graph.input[0].type.tensor_type.shape.dim[0].dim_value == 3


def dimension(data: bytes) -> object:
    found = onnx.load_from_string(data).graph.input[0].type.tensor_type.shape.dim[0]
    return found.dim_param or found.dim_value


class Branching(nn.Module):
    def forward(self, x):
        return x * 2 if x.shape[0] > 5 else x


FIXED = {
    "variance": Functional(lambda x: x - x.var(0)),
    "deviation": Functional(lambda x: x / x.std(0)),
    "mean": Functional(lambda x: x - x.mean(0) * x.shape[0]),
    "branch": Branching(),
    "slice": Functional(lambda x: F.concat([x[1:], x[:1]], 0)),
    "other axes": Functional(lambda x: x @ x.mT),
}
FREE = {
    "mean": Functional(lambda x: x - x.mean(0)),
    "flat": Functional(lambda x: x.reshape(-1).reshape(x.shape)),
    "rows": Functional(lambda x: x.reshape(x.shape[0] * 2, 4).sum(-1).reshape(x.shape[0], 2)),
    "spread": Functional(lambda x: x[:, :1].expand(x.shape[0], 8) + x),
}


@pytest.mark.parametrize("name", FIXED)
def test_what_holds_for_one_batch_is_fixed(name: str) -> None:
    assert dimension(check(FIXED[name], X)) == 3


@pytest.mark.parametrize("name", FREE)
@pytest.mark.parametrize("batch", [1, 3])
def test_what_holds_for_any_batch_is_free(name: str, batch: int) -> None:
    net = FREE[name]
    data = lm.onnx.encode(net, X[:batch])
    assert dimension(data) == "batch"
    session = runtime.InferenceSession(data)
    for size in (1, 2, 5):
        x = RNG.normal(size=(size, 8)).astype(np.float32)
        (got,) = session.run(None, {session.get_inputs()[0].name: x})
        np.testing.assert_allclose(got, net(x), rtol=1e-5, atol=2e-6)
        np.testing.assert_allclose(lm.onnx.load(data)(x), net(x), rtol=1e-5, atol=2e-6)


def test_random_numbers_have_no_form() -> None:
    class Noisy(nn.Module):
        def forward(self, x):
            return F.dropout(x, 0.5, True)

    with pytest.raises(UnsupportedError, match="dropout"):
        lm.onnx.encode(Noisy(), X)


def test_a_failed_save_leaves_the_file(tmp_path) -> None:
    path = tmp_path / "net.onnx"
    lm.onnx.save(nn.ReLU(), path, X)
    before = path.read_bytes()
    with pytest.raises(UnsupportedError):
        lm.onnx.save(Functional(lambda x: F.dropout(x, 0.5, True)), path, X)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
