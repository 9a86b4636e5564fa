# SPDX-License-Identifier: Apache-2.0
"""The training half of `lamella demo`: one net fitted by each library, side by side.

Same data, layers, optimiser (Adam), batch size and number of passes; each library starts from its
own initial weights. The clock covers the whole fit, for lamella the compilation too; importing is
left out. PyTorch takes part where it is installed.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamella import nn, optim
from lamella.benchmarks import measure, table
from lamella.train import fit

Array = NDArray[np.float32]
Labels = NDArray[np.int64]

BATCH, RATE = 64, 1e-3


@dataclass(frozen=True)
class Trained:
    """What came of a fit: seconds, share of unseen images recognised, mean loss of each epoch."""

    name: str
    seconds: float
    accuracy: float
    losses: list[float]


@dataclass(frozen=True)
class Data:
    """Images as rows, the class of each; and others, to test with."""

    x: Array
    y: Labels
    x_test: Array
    y_test: Labels
    sizes: tuple[int, ...]
    epochs: int


def with_lamella(data: Data) -> Trained:
    """`lamella.fit`."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(data.sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    net = nn.Sequential(*layers[:-1])
    start = time.perf_counter()
    history = fit(
        net,
        data.x,
        data.y,
        loss=nn.CrossEntropyLoss(),
        optimizer=optim.Adam(net.parameters(), lr=RATE),
        epochs=data.epochs,
        batch_size=BATCH,
        seed=0,
    )
    seconds = time.perf_counter() - start
    net.eval()
    right = float(np.mean(net(data.x_test).argmax(1) == data.y_test))
    return Trained("lamella", seconds, right, [float(loss) for loss in history["loss"]])


def with_sklearn(data: Data) -> tuple[Trained, Any]:
    """`MLPClassifier.fit`, and the fitted classifier."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    classifier = MLPClassifier(
        hidden_layer_sizes=data.sizes[1:-1],
        alpha=0.0,
        batch_size=BATCH,
        learning_rate_init=RATE,
        max_iter=data.epochs,
        tol=0.0,
        n_iter_no_change=data.epochs,
        random_state=0,
    )
    start = time.perf_counter()
    with warnings.catch_warnings():
        # All are stopped after the same number of passes.
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier.fit(data.x, data.y)
    seconds = time.perf_counter() - start
    right = float(classifier.score(data.x_test, data.y_test))
    return Trained("scikit-learn", seconds, right, list(classifier.loss_curve_)), classifier


def with_torch(data: Data) -> Trained | None:
    """The usual loop of PyTorch; None where it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    layers: list[Any] = []
    for inputs, outputs in pairwise(data.sizes):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    net = torch.nn.Sequential(*layers[:-1])
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE)
    measured = torch.nn.CrossEntropyLoss()
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
    losses = []
    start = time.perf_counter()
    for _ in range(data.epochs):
        total = 0.0
        for batch in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            loss = measured(net(x[batch]), y[batch])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        losses.append(total / len(x))
    seconds = time.perf_counter() - start
    with torch.inference_mode():
        found = net(torch.from_numpy(data.x_test)).argmax(1).numpy()
    torch.set_num_threads(threads)
    return Trained("PyTorch", seconds, float(np.mean(found == data.y_test)), losses)


def render(fits: list[Trained]) -> str:
    """Time, accuracy and loss of each."""
    header = ["training", "time of the fit", "slower than lamella", "accuracy", "last loss"]
    rows = [
        [
            one.name,
            measure.format_time(one.seconds),
            f"{one.seconds / fits[0].seconds:.1f} x" if one is not fits[0] else "",
            f"{100.0 * one.accuracy:.1f} %",
            f"{one.losses[-1]:.4f}",
        ]
        for one in fits
    ]
    return table.render(header, rows)
