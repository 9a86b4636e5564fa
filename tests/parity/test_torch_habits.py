# SPDX-License-Identifier: Apache-2.0
"""PyTorch's half of docs/from_pytorch.md runs, and what a port of it meets line by line.

The port takes the script as it stands and changes nothing but the name of the library: each line
either runs or is answered by a sentence that shows the line to write.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

import lamella as lm
from house.tree import ROOT
from lamella import functional as F
from lamella import nn, optim
from lamella.habits import HABITS
from lamella.runtime.tensor import Operand

PAGE = (ROOT / "docs/from_pytorch.md").read_text()
(SCRIPT,) = re.findall(r"```python torch\n(.*?)```", PAGE, flags=re.DOTALL)
OWNERS = {
    "module": torch.nn.Module,
    "parameter": torch.nn.Parameter,
    "tensor": torch.Tensor,
    "optimizer": torch.optim.Optimizer,
    "lamella": torch,
    "nn": torch.nn,
    "functional": torch.nn.functional,
    "optim": torch.optim,
    "onnx": torch.onnx,
}
# Names of JAX, MLX, Keras, ONNX Runtime, NumPy and of libraries around PyTorch, and those that are
# looked for in another place than PyTorch's.
OTHERS = """
DataLoader Dataset GradientTape InferenceSession TensorDataset add apply_gradients array astype
backward copy data dtype einsum evaluate fit from_pretrained get_weights grad jacobian jacrev
learning_rate load load_model load_weights lr minimize models mps predict predict_on_batch save
save_weights set_weights stop_gradient strides torchvision train_on_batch trainable update
value_and_grad vjp weights
"""


def test_the_script_of_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "script"}
    exec(SCRIPT, names)
    assert names["accuracy"] > 0.85


def session() -> dict[str, object]:
    net = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    x = np.random.default_rng(0).standard_normal((16, 8)).astype(np.float32)
    loss = nn.CrossEntropyLoss()
    targets = np.zeros(16, np.int64)
    return {
        "torch": lm,
        "nn": nn,
        "np": np,
        "net": net,
        "loss": loss,
        "optimizer": optim.Adam(net.parameters(), lr=1e-2),
        "x": x,
        "t": targets,
        "inputs": x,
        "targets": targets,
        "device": "cpu",
        "value": loss(net(x), targets),
    }


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("torch.manual_seed(0)", None),
        (
            'torch.device("cuda" if torch.cuda.is_available() else "cpu")',
            "on the CPU; leave it out",
        ),
        ("torch.from_numpy(x)", "arrays are NumPy's"),
        ("torch.utils.data.DataLoader(x, batch_size=32)", r"lm\.fit\(net, x, y"),
        ("net.to(device)", None),
        ("nn.CrossEntropyLoss()", None),
        ("torch.optim.Adam(net.parameters(), lr=1e-2)", None),
        ("torch.optim.lr_scheduler.StepLR(optimizer, step_size=10, gamma=0.5).step()", None),
        ("net.train()", None),
        ("optimizer.zero_grad()", r"lm\.TrainStep\(net, loss, optimizer\)"),
        ("loss(net(inputs), targets)", None),
        # NumPy's own answer; the page says what it means.
        ("value.backward()", "'numpy.ndarray' object has no attribute 'backward'"),
        ("torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)", "clip_norm=1.0"),
        ("optimizer.step()", r"lm\.TrainStep\(net, loss, optimizer\)"),
        ("net.eval()", None),
        ("torch.no_grad()", r"net\.eval\(\)\(x\)"),
        ("net(x).argmax(1) == t", None),
        ('torch.save(net.state_dict(), "net.pt")', r"expected \.safetensors or \.npz"),
    ],
)
def test_a_port_line_by_line(line, answer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if answer is None:
        exec(line, session())
        return
    with pytest.raises((AttributeError, TypeError, NotImplementedError), match=answer):
        exec(line, session())


def test_files_of_torch_are_read(tmp_path):
    net = torch.nn.Linear(8, 4)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    own = nn.Linear(8, 4)
    own.load_state_dict(lm.load(tmp_path / "net.pt"))
    assert np.array_equal(own.weight.numpy(), net.weight.detach().numpy())


def test_functions_that_are_methods_in_torch_are_methods_here():
    missing = [n for n in F.__all__ if hasattr(torch.Tensor, n) and not hasattr(Operand, n)]
    assert missing == []


def test_numpys_words_are_torchs_too():
    x = torch.rand(3, 4)
    for name in ("sum", "mean", "amax", "argmax", "logsumexp"):
        assert torch.equal(
            getattr(x, name)(axis=1, keepdims=True), getattr(x, name)(dim=1, keepdim=True)
        )


def test_other_rows_are_names_of_torch():
    """A typing error in a row would answer nobody."""
    unknown = {
        name
        for habit in HABITS
        for name in habit.names.replace("*_", "relu_").split()
        if not any(hasattr(OWNERS[kind], name) for kind in habit.kinds.split())
    }
    assert unknown == set(OTHERS.split())
