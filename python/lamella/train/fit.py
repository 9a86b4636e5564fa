# SPDX-License-Identifier: Apache-2.0
"""fit: trains a net on arrays or on an iterable of batches.

Judges the arguments, before anything is changed, and builds from them what the run needs: sources
of batches, the step, metrics, callbacks. The loop is `loop.py`'s.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from lamella.errors import DTypeError, message
from lamella.ir.types import Array
from lamella.nn import init
from lamella.nn.module import Module
from lamella.nn.structure import dtype_of
from lamella.optim.optimizer import Optimizer
from lamella.train import checkpoint
from lamella.train.callbacks import Callback, LRScheduler
from lamella.train.data import Arrays, Stream, as_array, leaves, mapped, weights
from lamella.train.evaluation import Evaluation
from lamella.train.history import History
from lamella.train.loop import Fit
from lamella.train.metrics import resolve
from lamella.train.progress import progress
from lamella.train.step import TrainStep

__all__ = ["fit"]

# Validation needs no small batches: this many samples fill the cores and little memory.
_VALIDATION_BATCH = 256


def fit(
    net: Module,
    x: Any,
    y: Any = None,
    *,
    loss: Callable[..., Any],
    optimizer: Optimizer,
    epochs: int = 1,
    batch_size: int = 32,
    shuffle: bool = True,
    seed: int | None = None,
    validation_data: Any = None,
    validation_split: float = 0.0,
    metrics: Any = (),
    callbacks: Callback | Iterable[Callback] = (),
    class_weight: Mapping[Any, float] | str | None = None,
    sample_weight: Any = None,
    scheduler: Any = None,
    drop_last: bool = False,
    verbose: bool | None = None,
    resume: str | os.PathLike[str] | None = None,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    accumulate: int = 1,
) -> History:
    """Trains `net` on (x, y): each batch one native call of forward, loss, backward and update.

        for epoch, for batch:  parameters <- optimizer(parameters, d loss(net(x), y) / d parameters)

    The same seed gives the same bits at any number of threads. A net in inference mode is put into
    training mode first; validation runs in inference mode, and there the net ends, ready to
    predict. An exception or Ctrl-C puts the modes back and leaves net and optimiser at the last
    finished step; as `error.fit` it has the history, the position and `save(path)`, and training
    resumes from what that writes.

    Parameters:
    x, y: arrays of one length along their first axis, or tuples (arguments of forward) or dicts
    (named arguments) of arrays; any type, strides, memory maps: rows are read batch by batch.
    Or x an iterable of batches (x, y) or (x, y, weight), such as a torch DataLoader, and no y.
    loss: function (output, target) -> a number, of nn or your own; optimizer: of optim. Losses of
    lamella say what they divide by (elements, weights of classes); of another function the losses
    of batches count by their samples, unless its `reduction` is "sum".
    epochs >= 1: how many in all, those before a `resume` included.
    batch_size >= 1: samples a step; drop_last: leave out a smaller last batch (it costs a second
    compilation of some milliseconds, and batch norm cannot take one sample). shuffle: a new order
    of samples in each epoch, from `seed` (0 <= seed < 2**63, of `lamella.manual_seed`'s generator
    if None), as is dropout.
    validation_data: (x, y), (x, y, weight) or an iterable of batches, measured after each epoch;
    or validation_split: that fraction of the samples, 0 <= f < 1, taken from the end.
    metrics: names ("accuracy", "top_k_accuracy", "precision", "recall", "f1", "mae", "mse", "r2"),
    objects of lamella.train, or functions (y_true, y_pred) -> float, of outputs in training mode.
    callbacks: of lamella.train or your own; scheduler: of optim, stepped each epoch (OneCycleLR:
    each update; ReduceLROnPlateau: with "val_loss", or "loss" if there is none).
    sample_weight: float (N,), >= 0; class_weight: {class: weight}, others 1, or "balanced" for
    N / (classes * samples of the class), for targets that are classes (N,). They are multiplied;
    the loss is sum(w * l) / sum(w), times weights of the loss itself, and a sample of weight 0 is
    left out.
    verbose: False quiet; True a line an epoch, or a bar on a terminal with tqdm; None only the bar.
    resume: a checkpoint of ModelCheckpoint or `error.fit.save`, continued bit for bit, also within
    an epoch; data and arguments must be those it was written with. Iterables are read up to there.
    clip_norm, clip_value, accumulate: as TrainStep's; batches left over at the end of an epoch make
    an update of their own.

    NaN in x or y is refused where only lamella's layers or losses read them, memory maps apart.

    Returns: History; its "loss" and "val_loss" are the sums of the losses over what all batches
    divide by (the sums for reduction="sum"), however the data were cut; those of training are as
    met in training. NaN where nothing counted.
    Raises: ShapeError, DTypeError, TypeError, ValueError for arguments that do not fit, for a last
    batch that the net cannot train on, for a weight of a class that does not exist; FormatError for
    a checkpoint that does not fit; net and optimiser are then as they were. IndexError for a target
    that is no class; FloatingPointError when a parameter has become NaN.
    Source: the arguments are Keras's Model.fit's, where PyTorch has no word.

    >>> import numpy as np, lamella as lm
    >>> from lamella import nn, optim
    >>> lm.manual_seed(0)
    >>> x = np.random.default_rng(0).standard_normal((256, 2)).astype(np.float32)
    >>> t = (x[:, 0] > x[:, 1]).astype(np.int64)
    >>> net = nn.Linear(2, 2)
    >>> history = lm.fit(
    ...     net, x, t, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam(net.parameters(), lr=0.1),
    ...     epochs=5, metrics=["accuracy"], validation_split=0.25,
    ... )
    >>> len(history), history["val_accuracy"][-1] > 0.9
    (5, True)
    """
    _judge(net, loss, optimizer, resume)
    for name, value in (("epochs", epochs), ("batch_size", batch_size), ("accumulate", accumulate)):
        _whole(name, value)
    found = resolve(metrics, loss)
    chosen = _callbacks(callbacks)
    saved = None if resume is None else checkpoint.read(resume)
    seed = _seed(seed, saved)
    dtype = _dtype(net)
    numbers = _numbers(net, loss)

    streams = _is_stream(x, y)
    if streams:
        if validation_split or sample_weight is not None:
            given = {"validation_split": validation_split, "sample_weight": sample_weight}
            raise ValueError(
                message("fit", "needs arrays", given, "validation_data, and batches (x, y, weight)")
            )
        source: Arrays | Stream
        source = stream = Stream(x, _Classes(class_weight), dtype=dtype, numbers=numbers)
        if stream.once and epochs > 1:
            raise ValueError(
                message("fit", "an iterator gives its batches once", {"epochs": epochs}, "epochs=1",
                        "Give what can be iterated over again: a list, a DataLoader.")
            )  # fmt: skip
        held = None
    else:
        x, y = _lists("x", x), _lists("y", y)
        kept, held = _split(x, y, validation_split, validation_data)
        weight = None if sample_weight is None else weights(sample_weight, _length(x), dtype)
        if held is not None and weight is not None:
            cut = _length(kept[0])
            held, weight = (*held, weight[cut:]), weight[:cut]
        x, y = kept
        weight = _Classes(class_weight, y)(y, weight)
        source = Arrays(
            x, y, weight, dtype=dtype, batch_size=batch_size, shuffle=bool(shuffle),
            drop_last=bool(drop_last), seed=seed, numbers=numbers,
        )  # fmt: skip

    step = TrainStep(
        net, loss, optimizer, clip_norm=clip_norm, clip_value=clip_value, accumulate=accumulate,
        outputs=bool(found), seed=seed, mass=True,
    )  # fmt: skip
    if isinstance(class_weight, Mapping):
        step.classes = tuple(int(one) for one in class_weight)
    validation = None
    if held is not None or validation_data is not None:
        given = validation_data if held is None else held
        named = {part: f"validation {part}" for part in numbers}
        data = _validation(given, dtype, batch_size, named)
        validation = (Evaluation(net, loss, copy.deepcopy(found)), data)
    if scheduler is not None:
        monitor = "loss" if validation is None else "val_loss"
        chosen.insert(0, LRScheduler(scheduler, monitor))
    run = Fit(
        net, step, source, epochs=epochs, seed=seed, metrics=found,
        callbacks=[*chosen, *progress(verbose)], validation=validation,
    )  # fmt: skip
    if saved is not None:
        checkpoint.load(run, saved)
    return run.run()


def _judge(net: Any, loss: Any, optimizer: Any, resume: Any) -> None:
    if not isinstance(net, Module):
        raise TypeError(message("fit", "not a net", {"net": type(net).__name__}, "nn.Module"))
    if not callable(loss) or isinstance(loss, type):
        raise TypeError(
            message("fit", "not a loss", {"loss": repr(loss)}, "an object such as nn.MSELoss()")
        )
    if not isinstance(optimizer, Optimizer):
        expected = "an object such as optim.Adam(net.parameters())"
        raise TypeError(
            message("fit", "not an optimiser", {"optimizer": repr(optimizer)}, expected)
        )
    if resume is not None and not isinstance(resume, str | os.PathLike):
        raise TypeError(message("fit", "not a path", {"resume": repr(resume)}, "a path or None"))


def _whole(name: str, value: Any) -> None:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(message("fit", "not a whole number", {name: repr(value)}, "int"))
    if value.__index__() < 1:
        raise ValueError(message("fit", "out of range", {name: value}, f"{name} >= 1"))


def _callbacks(callbacks: Any) -> list[Callback]:
    found = [callbacks] if isinstance(callbacks, Callback) else callbacks
    found = list(found) if isinstance(found, Iterable) else [found]
    for callback in found:
        if not isinstance(callback, Callback):
            got = {"callbacks": type(callback).__name__}
            raise TypeError(message("fit", "not a callback", got, "objects of train.Callback"))
    return found


def _seed(seed: Any, saved: checkpoint.Saved | None) -> int:
    if seed is not None:
        if isinstance(seed, bool) or not hasattr(seed, "__index__"):
            raise TypeError(message("fit", "not a whole number", {"seed": repr(seed)}, "int"))
        if not 0 <= seed.__index__() < 2**63:
            raise ValueError(message("fit", "out of range", {"seed": seed}, "0 <= seed < 2**63"))
    if saved is None:
        return int(init._source(None).integers(2**63)) if seed is None else int(seed)
    there = int(saved.state["seed"])
    if seed is not None and seed != there:
        raise ValueError(
            message("fit", "training cannot continue with another seed", {"seed": seed}, f"{there}")
        )
    return there


def _dtype(net: Module) -> np.dtype[Any]:
    found = dtype_of(net)
    return np.dtype(np.float32) if found is None else found.numpy


def _is_stream(x: Any, y: Any) -> bool:
    """Whether x is an iterable of batches; TypeError for a data set without y."""
    whole = isinstance(x, np.ndarray | tuple | Mapping) or hasattr(x, "__array__")
    batches = isinstance(x, list) and y is None and len(x) > 0 and isinstance(x[0], tuple)
    if y is None and not whole and (batches or not isinstance(x, list)):
        if not isinstance(x, Iterable):
            expected = "arrays x and y, or an iterable of batches"
            raise TypeError(message("fit", "no data", {"x": type(x).__name__}, expected))
        return True
    if y is None:
        raise TypeError(message("fit", "y is missing", {"x": type(x).__name__}, "targets"))
    return False


def _numbers(net: Module, loss: Any) -> dict[str, str]:
    """Which of x and y may not hold NaN: those that only lamella's own layers or losses read.

    Of these every one hands NaN on; a module of yours, or an ONNX file's, may know what to do.
    """

    def own(part: Any) -> bool:
        where: str = getattr(part, "__module__", "")
        return where.startswith(("lamella.nn.", "lamella.functional."))

    judged = {"x": all(map(own, net.modules())), "y": own(loss)}
    return {name: name for name, known in judged.items() if known}


def _lists(name: str, tree: Any) -> Any:
    """Lists and torch tensors as arrays; floating lists are float32, as in a call of a net."""

    def converted(value: Any) -> Array:
        array = as_array(name, value)
        loose = isinstance(value, list) and array.dtype.kind == "f"
        return array.astype(np.float32) if loose else array

    return mapped(converted, tree)


def _length(tree: Any) -> int:
    return len(leaves(tree)[0])


def _split(x: Any, y: Any, fraction: Any, given: Any) -> tuple[tuple[Any, Any], Any]:
    """What is trained on and, at the end of the samples, what is held out, as views."""
    if not hasattr(fraction, "__float__"):
        split = {"validation_split": repr(fraction)}
        raise TypeError(message("fit", "not a number", split, "0 <= validation_split < 1"))
    if not 0.0 <= fraction < 1.0:
        got = {"validation_split": fraction}
        raise ValueError(message("fit", "no fraction", got, "0 <= validation_split < 1"))
    every = [*leaves(x), *leaves(y)]
    if not fraction or len({len(leaf) for leaf in every}) != 1:
        return (x, y), None
    if given is not None:
        raise ValueError(
            message("fit", "validation_data and validation_split", None, "one of them")
        )
    samples = len(every[0])
    cut = samples - round(samples * fraction)
    if not 0 < cut < samples:
        got = {"samples": samples, "validation_split": fraction}
        raise ValueError(message("fit", "one part is empty", got, "samples in both parts"))
    head = tuple(mapped(lambda leaf: leaf[:cut], tree) for tree in (x, y))
    return (head[0], head[1]), tuple(mapped(lambda leaf: leaf[cut:], tree) for tree in (x, y))


def _validation(
    given: Any, dtype: np.dtype[Any], batch_size: int, numbers: Mapping[str, str]
) -> Arrays | Stream:
    if not isinstance(given, tuple):
        if not isinstance(given, Iterable) or isinstance(given, np.ndarray | Mapping | str):
            got = {"validation_data": type(given).__name__}
            raise TypeError(message("fit", "no data", got, "(x, y), (x, y, weight) or batches"))
        stream = Stream(given, _Classes(None), dtype=dtype, numbers=numbers)
        if stream.once:
            got = {"validation_data": type(given).__name__}
            raise ValueError(message("fit", "can be read only once", got, "arrays or a list"))
        return stream
    if len(given) not in (2, 3):
        got = {"validation_data": f"{len(given)} items"}
        raise ValueError(message("fit", "no data", got, "(x, y) or (x, y, weight)"))
    weight = given[2] if len(given) == 3 else None
    x, y = (_lists(name, tree) for name, tree in zip("xy", given[:2], strict=True))
    size = max(batch_size, _VALIDATION_BATCH)
    return Arrays(
        x, y, weight, dtype=dtype, batch_size=size, rows=False, numbers=numbers
    )  # fmt: skip


class _Classes:
    """Weights of samples by their classes, times those that were given.

    Source of "balanced": King and Zeng, "Logistic regression in rare events data", 2001; as
    scikit-learn's compute_class_weight.
    """

    def __init__(self, class_weight: Any, y: Any = None) -> None:
        self.table: tuple[Array, Array] | None = None
        if class_weight is None:
            return
        if isinstance(class_weight, str):
            if class_weight != "balanced" or y is None:
                expected = "a dict, or 'balanced' with y an array"
                got = {"class_weight": repr(class_weight)}
                raise ValueError(message("fit", "no weights", got, expected))
            classes, counts = np.unique(self._targets(y), return_counts=True)
            class_weight = dict(
                zip(classes.tolist(), counts.sum() / (len(classes) * counts), strict=True)
            )
        if not isinstance(class_weight, Mapping) or not class_weight:
            got = {"class_weight": type(class_weight).__name__}
            raise TypeError(message("fit", "no weights", got, "a dict {class: weight}"))
        for item in class_weight.items():
            if not (hasattr(item[0], "__index__") and hasattr(item[1], "__float__")):
                got = {"class_weight": f"{{{item[0]!r}: {item[1]!r}}}"}
                raise TypeError(message("fit", "no weights", got, "{class index: weight}"))
        keys = sorted(class_weight)
        values = np.array([class_weight[key] for key in keys], np.float64)
        if not (np.isfinite(values).all() and (values >= 0).all()):
            rule, weighed = "a weight is negative or not finite", {"class_weight": class_weight}
            raise ValueError(message("fit", rule, weighed, "weights >= 0"))
        self.table = np.array(keys, np.int64), values

    @staticmethod
    def _targets(y: Any) -> Array:
        if not isinstance(y, np.ndarray) or y.ndim != 1 or y.dtype.kind not in "iub":
            got = {"y": getattr(y, "dtype", type(y).__name__), "shape": getattr(y, "shape", "")}
            raise DTypeError(
                message("fit", "class_weight needs classes", got, "y integer of shape (samples,)")
            )
        return y

    def __call__(self, y: Any, weight: Array | None) -> Array | None:
        if self.table is None:
            return weight
        classes, values = self.table
        targets = self._targets(y)
        place = np.minimum(np.searchsorted(classes, targets), len(classes) - 1)
        found = np.where(classes[place] == targets, values[place], 1.0)
        return found if weight is None else found * weight
