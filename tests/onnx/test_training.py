# SPDX-License-Identifier: Apache-2.0
"""Loaded models are trained like the nets they were: same gradients, saved, loaded, written again.

Each net of models/ stands beside the same net of lamella.nn with the same weights; what cannot be
trained says why.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import lamella as lm
from lamella import functional as F
from lamella import nn, optim
from lamella.errors import UnsupportedError

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
import onnxruntime as runtime
from onnx import TensorProto, helper, numpy_helper

FOLDER = Path(__file__).parent / "models"


class Residual(nn.Module):
    """A block with its statistics frozen, as an exported one has them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 8)
        self.norm = nn.BatchNorm1d(8)

    def forward(self, x):
        return x + self.norm(self.second(F.relu(self.first(x))))


class FeedForward(nn.Module):
    """The feed-forward half of a transformer's encoder layer."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(8), nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x):
        return self.norm(x + self.down(F.gelu(self.up(x))))


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(8, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 3), nn.Softmax(1)
    ).eval()


NETS = {"mlp": mlp, "residual": Residual, "feed_forward": FeedForward}
# Exporters fold weights: what a file calls otherwise, or holds transposed, is found by its shape.
CASES = [
    ("mlp", "script_11"),
    ("mlp", "script_20"),
    ("mlp", "dynamo_23"),
    ("residual", "script_13"),
    ("residual", "script_20"),
    ("feed_forward", "script_11"),
    ("feed_forward", "script_17"),
    ("feed_forward", "dynamo_18"),
    ("feed_forward", "dynamo_23"),
]


def load(net: str, form: str) -> lm.onnx.Model:
    return lm.onnx.load(FOLDER / f"torch_{net}.{form}.onnx")


def batch(net: str) -> tuple[np.ndarray, np.ndarray]:
    stored = np.load(FOLDER / f"torch_{net}.npz")
    x = stored["x_64"]
    # Classes for the probabilities; for the others their input backwards: both can be learnt.
    return x, np.eye(3, dtype=x.dtype)[x[:, :3].argmax(1)] if net == "mlp" else x[..., ::-1].copy()


def twin(net: str, loaded: lm.onnx.Model) -> tuple[nn.Module, dict[str, tuple[str, bool]]]:
    """The same net of lamella.nn; for each of its parameters the file's name, and if transposed."""
    other = NETS[net]().eval()
    theirs = {**loaded.state_dict()}
    where: dict[str, tuple[str, bool]] = {}
    for name, value in other.state_dict().items():
        if name in theirs:
            where[name] = (name, False)
        elif value.ndim == 2:
            (found,) = [k for k, v in theirs.items() if v.shape == value.shape[::-1]]
            where[name] = (found, True)
    other.load_state_dict(
        {name: theirs[k].T if turned else theirs[k] for name, (k, turned) in where.items()},
        strict=False,
    )
    return other, {name: where[name] for name, _ in other.named_parameters()}


def gradients(net: nn.Module, x: np.ndarray, t: np.ndarray) -> dict[str, np.ndarray]:
    step = lm.TrainStep(net, nn.MSELoss(), optim.SGD(net.parameters(), lr=0.1))
    _, found = step.gradients(x, t)
    return found


@pytest.mark.parametrize(("net", "form"), CASES)
def test_gradients_are_those_of_the_same_net(net: str, form: str) -> None:
    loaded = load(net, form)
    other, names = twin(net, loaded)
    x, t = batch(net)
    np.testing.assert_allclose(loaded(x), other(x), rtol=1e-5, atol=1e-6)
    ours, want = gradients(loaded, x, t), gradients(other, x, t)
    assert {name for name, _ in names.values()} == set(ours)
    for name, (found, turned) in names.items():
        got = ours[found].T if turned else ours[found]
        # Sums over the batch in another order: a few roundings of the largest element.
        scale = np.abs(want[name]).max()
        assert scale > 0
        np.testing.assert_allclose(got, want[name], rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize(("net", "form"), CASES)
def test_a_loaded_net_learns_is_saved_and_written_again(net: str, form: str, tmp_path) -> None:
    loaded = load(net, form)
    x, t = batch(net)
    first = loaded(x)
    step = lm.TrainStep(loaded, nn.MSELoss(), optim.Adam(loaded.parameters(), lr=1e-2))
    losses = [float(step(x, t)) for _ in range(60)]
    assert losses[-1] < 0.9 * losses[0]
    y = loaded(x)
    assert np.abs(y - first).max() > 1e-2

    lm.save(loaded, tmp_path / "net.safetensors")
    fresh = load(net, form)
    fresh.load_state_dict(lm.load(tmp_path / "net.safetensors"))
    np.testing.assert_array_equal(fresh(x), y)

    lm.onnx.save(loaded, tmp_path / "net.onnx", x)
    session = runtime.InferenceSession(tmp_path / "net.onnx")
    for rows in (x, x[:7], x[:1]):
        (got,) = session.run(None, {session.get_inputs()[0].name: rows})
        np.testing.assert_allclose(got, loaded(rows), rtol=1e-5, atol=2e-6)
    again = lm.onnx.load(tmp_path / "net.onnx")
    assert again.input_names == loaded.input_names
    assert again.output_names == loaded.output_names
    np.testing.assert_allclose(again(x), y, rtol=1e-5, atol=2e-6)
    # What was written can be trained on.
    assert set(again.state_dict()) >= {name for name, _ in loaded.named_parameters()}


@pytest.mark.parametrize("net", NETS)
def test_fit_trains_a_loaded_net(net: str) -> None:
    loaded = load(net, "script_17")
    x, t = batch(net)
    history = lm.fit(
        loaded, x, t, loss=nn.MSELoss(), optimizer=optim.AdamW(loaded.parameters(), lr=1e-2),
        epochs=15, batch_size=16, seed=1, validation_data=(x, t), verbose=False,
    )  # fmt: skip
    assert history["loss"][-1] < 0.9 * history["loss"][0]
    assert history["val_loss"][-1] < history["val_loss"][0]
    assert loaded.training is False


def test_a_head_is_trained_and_the_rest_is_kept() -> None:
    body = load("feed_forward", "dynamo_20")
    for parameter in body.parameters():
        parameter.requires_grad = False
    net = nn.Sequential(body, nn.Linear(8, 2))
    x, _ = batch("feed_forward")
    t = np.random.default_rng(1).standard_normal((64, 5, 2)).astype(np.float32)
    before = body.state_dict()
    before = {name: value.copy() for name, value in before.items()}
    step = lm.TrainStep(net, nn.MSELoss(), optim.SGD(net.parameters(), lr=0.1))
    losses = [float(step(x, t)) for _ in range(30)]
    assert losses[-1] < losses[0]
    for name, value in body.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_dropout_drops_in_training_only() -> None:
    data = model(
        [helper.make_node("Dropout", ["x"], ["d"]), helper.make_node("MatMul", ["d", "w"], ["y"])],
        [("x", TensorProto.FLOAT, ["n", 4])],
        [("w", np.ones((4, 3), np.float32))],
        opset=20,
    )
    net = lm.onnx.load(data)
    x = np.ones((64, 4), np.float32)
    np.testing.assert_array_equal(net(x), np.full((64, 3), 4))
    net.train()
    assert set(np.unique(net(x))) == {0.0, 2.0, 4.0, 6.0, 8.0}


# What cannot be trained.


def model(nodes, inputs, initializers, opset: int = 20, output: int = TensorProto.FLOAT) -> bytes:
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(*one) for one in inputs],
        [helper.make_tensor_value_info("y", output, None)],
        [numpy_helper.from_array(array, name) for name, array in initializers],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)]
    ).SerializeToString()


W = np.ones((4, 3), np.float32)


def test_weights_that_a_file_holds_once_are_trained_apart_from_statistics() -> None:
    """The variance of a fresh batch normalisation equals its scale: exporters write one array."""
    nodes = [
        helper.make_node("Identity", ["scale"], ["norm.running_var"]),
        helper.make_node(
            "BatchNormalization", ["x", "scale", "shift", "shift", "norm.running_var"], ["y"]
        ),
    ]
    arrays = [("scale", np.ones(4, np.float32)), ("shift", np.zeros(4, np.float32))]
    net = lm.onnx.load(model(nodes, [("x", TensorProto.FLOAT, ["n", 4])], arrays))
    assert [name for name, _ in net.named_parameters()] == ["scale", "shift"]
    buffers = ["norm.running_var", "shift_statistic"]
    assert sorted(name for name, _ in net.named_buffers()) == buffers
    x = np.random.default_rng(2).standard_normal((8, 4)).astype(np.float32)
    step = lm.TrainStep(net, nn.MSELoss(), optim.SGD(net.parameters(), lr=0.1))
    loss, found = step.gradients(x, np.zeros((8, 4), np.float32))
    y = x.astype(np.float64) / np.sqrt(1 + 1e-5)
    np.testing.assert_allclose(loss, (y**2).mean(), rtol=1e-5)
    np.testing.assert_allclose(found["scale"], (2 * y * y).sum(0) / y.size, rtol=1e-4)
    np.testing.assert_allclose(found["shift"], (2 * y).sum(0) / y.size, rtol=1e-4, atol=1e-6)
    step(x, np.zeros((8, 4), np.float32))
    np.testing.assert_array_equal(net.state_dict()["norm.running_var"], np.ones(4))


def test_a_staged_model_says_why_it_is_not_trained() -> None:
    data = model(
        [
            helper.make_node("Greater", ["ids", "one"], ["large"]),
            helper.make_node("Compress", ["ids", "large"], ["some"], name="chosen"),
            helper.make_node("Gather", ["x", "some"], ["rows"]),
            helper.make_node("MatMul", ["rows", "w"], ["y"]),
        ],
        [("x", TensorProto.FLOAT, [5, 4]), ("ids", TensorProto.INT64, ["n"])],
        [("one", np.array(1, np.int64)), ("w", W)],
    )
    net = lm.onnx.load(data)
    step = lm.TrainStep(net, nn.MSELoss(), optim.SGD(net.parameters(), lr=0.1))
    x, ids = np.ones((5, 4), np.float32), np.array([0, 1])
    with pytest.raises(UnsupportedError, match=r"runs in stages.*Compress .chosen. runs on"):
        step((x, ids), np.ones((2, 3), np.float32))


def test_an_answer_without_gradients_says_so() -> None:
    data = model(
        [
            helper.make_node("MatMul", ["x", "w"], ["scores"]),
            helper.make_node("ArgMax", ["scores"], ["best"], axis=1, keepdims=0),
            helper.make_node("Cast", ["best"], ["y"], to=TensorProto.FLOAT),
        ],
        [("x", TensorProto.FLOAT, ["n", 4])],
        [("w", W)],
    )
    net = lm.onnx.load(data)
    before = net.state_dict()["w"].copy()
    step = lm.TrainStep(net, nn.MSELoss(), optim.SGD(net.parameters(), lr=0.1))
    with pytest.raises(ValueError, match=r"but by way of argmax.*, which has no slope"):
        step(np.ones((2, 4), np.float32), np.zeros(2, np.float32))
    np.testing.assert_array_equal(net.state_dict()["w"], before)
