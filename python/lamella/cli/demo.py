# SPDX-License-Identifier: Apache-2.0
"""`lamella demo`: a net trained by each library; one of them taken over, checked and measured.

Real data, no network access: the 1797 handwritten digits that come with scikit-learn. lamella,
scikit-learn and, where it is installed, PyTorch train the same net side by side. Then the numbers
that scikit-learn found predict through lamella, through plain NumPy and through scikit-learn
itself; every prediction has to agree. The table sets the time of a call beside the least time that
this machine allows for the work.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamella import _core
from lamella.benchmarks import limits, measure, table
from lamella.benchmarks.tasks.work import Work
from lamella.cli import MissingExtra, training

Array = NDArray[np.float32]
Predict = Callable[[Array], Any]

LAMELLA, NUMPY, SKLEARN = "lamella", "plain NumPy", "scikit-learn"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `demo`."""
    parser.add_argument(
        "--plot", metavar="FILE", default="lamella-demo.png", help="where the picture goes"
    )
    parser.add_argument("--no-plot", action="store_true", help="writes no picture")
    parser.add_argument(
        "--hidden", type=int, nargs="+", default=[128, 64], metavar="N", help="hidden layers"
    )
    parser.add_argument("--epochs", type=int, default=60, help="passes over the training images")
    parser.add_argument("--rounds", type=int, default=9, help="measuring rounds, the best counts")


@dataclass(frozen=True)
class Digits:
    """The images, 8 x 8 pixels in [0, 1] as rows of 64, and the digit that each shows."""

    images: Array
    labels: NDArray[np.int64]
    train: NDArray[np.int64]
    test: NDArray[np.int64]


@dataclass(frozen=True)
class Measurement:
    """One batch size: seconds per call of each library, and the least time possible."""

    batch: int
    times: dict[str, float]
    limit: float
    limit_name: str


def load_digits() -> Digits:
    """scikit-learn's digits, three quarters of them for training."""
    from sklearn import datasets

    bunch = datasets.load_digits()
    order = np.random.default_rng(7).permutation(len(bunch.target))
    cut = len(order) * 3 // 4
    images = np.ascontiguousarray(bunch.data / 16.0, dtype=np.float32)
    return Digits(images, bunch.target.astype(np.int64), order[:cut], order[cut:])


def train(digits: Digits, hidden: list[int], epochs: int) -> tuple[list[training.Trained], Any]:
    """The same net fitted by every library, and scikit-learn's classifier of these."""
    seen, unseen = digits.train, digits.test
    data = training.Data(
        digits.images[seen],
        digits.labels[seen],
        digits.images[unseen],
        digits.labels[unseen],
        (digits.images.shape[1], *hidden, 10),
        epochs,
    )
    theirs, classifier = training.with_sklearn(data)
    fits = [training.with_lamella(data), theirs, training.with_torch(data)]
    return [one for one in fits if one is not None], classifier


def plain_numpy(classifier: Any) -> Predict:
    """The classifier's forward pass as one writes it in NumPy, in float32."""
    weights = [np.ascontiguousarray(w, dtype=np.float32) for w in classifier.coefs_]
    biases = [np.ascontiguousarray(b, dtype=np.float32) for b in classifier.intercepts_]

    def predict_proba(x: Array) -> Array:
        for w, b in zip(weights[:-1], biases[:-1], strict=True):
            x = x @ w
            x += b
            np.maximum(x, np.float32(0.0), out=x)
        y: Array = x @ weights[-1]
        y += biases[-1]
        y -= y.max(axis=1, keepdims=True)
        np.exp(y, out=y)
        y /= y.sum(axis=1, keepdims=True)
        return y

    return predict_proba


def work_of(classifier: Any, batch: int) -> Work:
    """What one call on `batch` images has to do."""
    products = sum(w.size for w in classifier.coefs_)
    parameters = products + sum(b.size for b in classifier.intercepts_)
    read = 4.0 * (parameters + batch * classifier.coefs_[0].shape[0])
    return Work(2.0 * batch * products, read, 4.0 * batch * classifier.coefs_[-1].shape[1])


def measure_batches(
    predictors: dict[str, Predict], classifier: Any, images: Array, rounds: int
) -> list[Measurement]:
    """Every library on 1, 32 and all images."""
    machine = limits.of(1)
    results = []
    for batch in (1, 32, len(images)):
        x = images[:batch]
        calls = {name: _bound(predict, x) for name, predict in predictors.items()}
        work = work_of(classifier, batch)
        machine.sample(work)
        times = measure.time_calls(calls, rounds=rounds)
        machine.sample(work)
        limit, limit_name = machine.governing(work)
        results.append(Measurement(batch, times, limit, limit_name))
    return results


def _bound(predict: Predict, x: Array) -> Callable[[], Any]:
    return lambda: predict(x)


def render(measurements: list[Measurement]) -> str:
    """Latency and throughput, the limit, and how far lamella is ahead."""
    header = ["", "time of a call", "images/s", "slower than lamella", "of the limit"]
    rows = []
    for m in measurements:
        rows.append([f"batch {m.batch}, limit set by {m.limit_name}"])
        rows[-1] += [measure.format_time(m.limit), measure.format_rate(m.batch / m.limit, "")]
        rows[-1] += ["", "100 %"]
        for name, time in m.times.items():
            rows.append(
                [
                    f"  {name}",
                    measure.format_time(time),
                    measure.format_rate(m.batch / time, ""),
                    f"{time / m.times[LAMELLA]:.1f} x" if name != LAMELLA else "",
                    f"{100.0 * m.limit / time:.1f} %",
                ]
            )
    return table.render(header, rows)


def _check_installed(plot: bool) -> None:
    try:
        import sklearn  # noqa: F401

        if plot:
            import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtra("demo", "demo", error) from error


def run(options: argparse.Namespace) -> int:
    """Trains, takes over, compares, measures and draws; 1 when a prediction differs."""
    _check_installed(plot=not options.no_plot)
    from threadpoolctl import threadpool_limits

    from lamella.sklearn import from_sklearn

    digits = load_digits()
    before = _core.num_threads()
    _core.set_num_threads(1)
    try:
        with threadpool_limits(1):
            fits, classifier = train(digits, options.hidden, options.epochs)
    finally:
        _core.set_num_threads(before)
    shape = " -> ".join(str(w.shape[0]) for w in classifier.coefs_) + " -> 10"
    print(
        f"{shape}, relu, Adam, {options.epochs} passes over {len(digits.train)} images of digits,"
    )
    print(f"{len(digits.test)} others to test with, one thread\n")
    print(training.render(fits), end="\n\n")

    net = from_sklearn(classifier)
    ours, theirs = net.predict(digits.images), classifier.predict(digits.images)
    numpy_forward = plain_numpy(classifier)
    agree = int(np.count_nonzero(ours == theirs))
    off = float(np.max(np.abs(net.predict_proba(digits.images) - numpy_forward(digits.images))))
    print(f"lamella.sklearn.from_sklearn(classifier): {agree} of {len(ours)} predictions agree,")
    print(f"probabilities within {off:.1e}\n")
    if agree != len(ours):
        print("lamella demo: predictions differ")
        return 1

    predictors: dict[str, Predict] = {
        LAMELLA: net,
        NUMPY: numpy_forward,
        SKLEARN: classifier.predict_proba,
    }
    _core.set_num_threads(1)
    try:
        with threadpool_limits(1):
            measurements = measure_batches(predictors, classifier, digits.images, options.rounds)
    finally:
        _core.set_num_threads(before)
    print(render(measurements))
    card = measure.machine_card()
    print(f"\n{card['cpu']}, ISA {card['isa']}, all on one thread, float32")
    if not options.no_plot:
        from lamella.cli import plot

        path = Path(options.plot)
        unseen = digits.test
        plot.draw(
            path,
            digits.images[unseen],
            digits.labels[unseen],
            ours[unseen],
            shape,
            measurements,
            fits,
        )
        print(f"picture: {path}")
    return 0
