# SPDX-License-Identifier: Apache-2.0
"""Fit: one run of training, its position, and its loop over epochs and batches.

This is what callbacks see and what checkpoints save. The position, (epoch, batch), counts what is
finished, and always agrees with the parameters: whatever ends a run, an error or Ctrl-C, the
versions of the parameters tell whether the step it met was still finished.
"""

from __future__ import annotations

import inspect
import math
import os
import warnings
from collections.abc import Callable, Generator, Sequence
from time import perf_counter
from typing import Any

import numpy as np

from lamella.errors import ShapeError, UnsupportedError, message
from lamella.nn.module import Module
from lamella.train.callbacks import Callback
from lamella.train.checkpoint import save
from lamella.train.data import Arrays, Stream
from lamella.train.evaluation import Evaluation, whole_loss
from lamella.train.history import History
from lamella.train.ledger import Ledger
from lamella.train.metrics import Metric

__all__ = ["Fit"]


class Fit:
    """A run of `lamella.fit` as callbacks see it, and as its exceptions carry it (`error.fit`).

    net, loss, optimizer, step: what is trained, and the TrainStep; history: the finished epochs;
    epochs: how many there shall be; batches: how many an epoch has (None for a generator);
    epoch, batch: how many are finished, batches in the running epoch; logs: the values of the last
    finished epoch by name; last_loss: the loss of the last batch (in on_batch_end); seed: of the
    order of samples and of dropout; stop: set it to True and training ends after this hook;
    diverged: whether training has ended because a parameter became NaN.
    """

    def __init__(
        self,
        net: Module,
        step: Any,
        source: Arrays | Stream,
        *,
        epochs: int,
        seed: int,
        metrics: Sequence[Metric] = (),
        callbacks: Sequence[Callback] = (),
        validation: tuple[Evaluation, Arrays | Stream] | None = None,
    ) -> None:
        self.net = net
        self.step = step
        self.loss = step.loss
        self.optimizer = step.optimizer
        self.source = source
        self.epochs = epochs
        self.batches = source.batches
        self.seed = seed
        self.metrics = list(metrics)
        # Checkpoints come last: they hold what the others have made of the same epoch.
        self.callbacks = sorted(callbacks, key=lambda callback: callback.last)
        self.validation = validation
        self.history = History()
        self.epoch = 0
        self.batch = 0
        self.logs: dict[str, float] = {}
        self.last_loss = float("nan")
        self.stop = False
        self.diverged = False
        # Of the running epoch: losses and masses by batch, those lost to an interrupt, and when it
        # would have begun had it not been interrupted.
        self.losses: list[float] = []
        self.masses: list[float] = []
        self.lost: list[int] = []
        self.started: float | None = None
        self._prepared = False

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a checkpoint of this position, from which `fit(..., resume=path)` continues.

        The file is never torn: what was there before stays until the new one is complete.
        """
        save(self, path)

    @property
    def columns(self) -> list[str]:
        """The names of the values that each epoch of this run will have."""
        names = ["loss", *(metric.name for metric in self.metrics)]
        if self.validation is not None:
            names += [f"val_{name}" for name in names]
        return [*names, "lr", "seconds"]

    def require(self, monitor: str) -> None:
        """Raises ValueError unless epochs will have a value of this name."""
        if monitor not in self.columns:
            got, names = {"monitor": repr(monitor)}, ", ".join(self.columns)
            advice = "Give validation_data." if monitor.startswith("val_") else ""
            raise ValueError(message("fit", "no such value", got, f"one of {names}", advice))

    def run(self) -> History:
        """Trains from the present position to the end; the net is then ready to predict."""
        modes = _modes(self.net)
        try:
            self._call("on_train_begin")
            while self.epoch < self.epochs and not self.stop:
                self._epoch()
            self._call("on_train_end")
            self.net.eval()
        except BaseException as error:
            error.fit = self  # type: ignore[attr-defined]
            self._interrupted(error)
            _put_back(modes)
            raise
        return self.history

    def _call(self, hook: str) -> None:
        for callback in self.callbacks:
            getattr(callback, hook)(self)

    def _interrupted(self, error: BaseException) -> None:
        """Tells all callbacks, whatever becomes of one of them: the next may save the training."""
        notes = []
        for callback in self.callbacks:
            try:
                callback.on_interrupt(self)
            except Exception as other:
                fault = {"fault": f"{type(other).__name__}: {other}"}
                notes.append(message(f"{type(callback).__name__}.on_interrupt", "failed", fault))
        for note in notes:
            error.add_note(note)
            # Who catches Ctrl-C shall not believe that a checkpoint was written.
            warnings.warn(note, RuntimeWarning, stacklevel=4)

    def _hooks(self, name: str) -> list[Callable[[Fit], None]]:
        """The callbacks' own hooks of this name; most have none for batches."""
        base = getattr(Callback, name)
        found = [callback for callback in self.callbacks if callback.batch_hooks]
        return [getattr(c, name) for c in found if getattr(type(c), name) is not base]

    def _epoch(self) -> None:
        if self.batch == 0 or self.started is None:
            self.started = perf_counter()
        if self.batch == 0:
            self.losses, self.masses, self.lost = [], [], []
            for metric in self.metrics:
                metric.reset()
            self._call("on_epoch_begin")
        if not self.net.training:
            self.net.train()
        self._prepare()
        batches = self.source.epoch(self.epoch, self.batch)
        updates = self._hooks("on_update")
        hooks = self._hooks("on_batch_begin"), updates, self._hooks("on_batch_end")
        if self.metrics or any(hooks):
            self._watched(batches, *hooks)
        else:
            self._plain(batches)
        if self.stop:
            return
        if self.step.held:
            # Batches left over at the end of an epoch are a step too.
            self.step.flush()
            for hook in updates:
                hook(self)
        self._check(range(len(self.losses)))
        if not self.losses:
            raise ValueError(
                message("fit", "no batches", {"x": type(self.source).__name__}, "at least one",
                        "A generator can be used up; give what can be iterated over again.")
            )  # fmt: skip
        logs = {
            "loss": whole_loss(self.losses, self.masses),
            **{m.name: m.result() for m in self.metrics},
        }
        if self.validation is not None:
            evaluation, data = self.validation
            modes = _modes(self.net)
            values = evaluation.over(data, self.step.random_state[0], self.epoch)
            logs |= {f"val_{name}": value for name, value in values.items()}
            _put_back(modes)
        logs["lr"] = float(self.optimizer.param_groups[0]["lr"])
        logs["seconds"] = perf_counter() - self.started
        self.history.append(logs)
        self.logs = logs
        # No call between the two: a signal finds both or neither.
        self.epoch, self.batch = self.epoch + 1, 0
        self._call("on_epoch_end")

    def _plain(self, batches: Generator[tuple[Any, ...], None, None]) -> None:
        """The loop when nobody looks at batches: as little Python as can be."""
        call = self.step.weighty_rows if self.source.native else self.step
        losses, append, weigh = self.losses, self.losses.append, self.masses.append
        ledger, first = Ledger(self.step), self.batch
        try:
            for arguments in batches:
                loss, mass = call(*arguments)
                weigh(float(mass))
                append(float(loss))
            self.batch = len(losses)
        except BaseException:
            # A generator that has ended, by itself or by an error, has left no call unfinished.
            begun = inspect.getgeneratorstate(batches) != inspect.GEN_CLOSED
            self._settle(first, ledger, len(losses) - first + begun)
            raise

    def _watched(
        self,
        batches: Generator[tuple[Any, ...], None, None],
        begins: list[Callable[[Fit], None]],
        updates: list[Callable[[Fit], None]],
        ends: list[Callable[[Fit], None]],
    ) -> None:
        """The loop with metrics and hooks for batches."""
        call = self.step.weighty_rows if self.source.native else self.step
        metrics, source = self.metrics, self.source
        for arguments in batches:
            for hook in begins:
                hook(self)
            if self._stopped():
                break
            ledger = Ledger(self.step)
            try:
                loss, *output, mass = call(*arguments)
                self.masses.append(float(mass))
                self.losses.append(float(loss))
                self.batch = len(self.losses)
            except BaseException:
                self._settle(self.batch, ledger, 1)
                raise
            self._check((self.batch - 1,))
            if metrics:
                target = source.targets(arguments)
                for metric in metrics:
                    metric.update(target, output[0])
            self.last_loss = self.losses[-1]
            if not self.step.held:
                for hook in updates:
                    hook(self)
            for hook in ends:
                hook(self)
            if self._stopped():
                break

    def _prepare(self) -> None:
        """Before the first step: compiles for a smaller batch that is yet to come.

        What a net cannot take of that size is then told before anything has trained.
        """
        if self._prepared:
            return
        self._prepared = True
        examples, native = self.source.examples(), self.source.native
        for example in examples[:-1]:
            self.step.find(native, *example)
        try:
            for example in examples[-1:]:
                self.step.find(native, *example)
        except (ShapeError, UnsupportedError) as error:
            source = self.source
            got = {"samples": source.samples, "batches": source.batches, "last batch": source.rest}
            rule = f"the last batch of an epoch cannot be trained on: {error}"
            advice = "drop_last=True leaves it out; so does another batch_size"
            raise type(error)(message("fit", rule, got, "", advice)) from error

    def _check(self, batches: Sequence[int]) -> None:
        """Raises FloatingPointError if a loss is NaN and a parameter is: no step mends that."""
        bad = next((batch for batch in batches if math.isnan(self.losses[batch])), None)
        if bad is None:
            return
        for name, parameter in self.net.named_parameters():
            if np.isnan(parameter.data).any():
                self.diverged = True
                got = {"epoch": self.epoch + 1, "first loss of NaN": f"batch {bad + 1}"}
                raise FloatingPointError(
                    message("fit", f"{name} has become NaN", got, "numbers",
                            "A smaller lr or clip_norm helps where steps are too long; "
                            "infinities in the data and log or sqrt of what may be 0 do the same")
                )  # fmt: skip

    def _stopped(self) -> bool:
        """Whether a hook has stopped training in the meantime."""
        return self.stop

    def _settle(self, first: int, ledger: Ledger, most: int) -> None:
        """Makes the position agree with the parameters after an exception.

        Python raises KeyboardInterrupt when the native call is over but before its result is
        stored: the step counts, and its loss, of no mass, is lost to the mean of its epoch.
        """
        finished, known = ledger.settle(most), len(self.losses)
        while len(self.losses) < first + finished:
            self.lost.append(len(self.losses))
            self.losses.append(0.0)
        self.batch = len(self.losses)
        self.masses[known:] = [0.0] * (self.batch - known)


def _modes(net: Module) -> list[tuple[Module, bool]]:
    return [(module, module.training) for module in net.modules()]


def _put_back(modes: list[tuple[Module, bool]]) -> None:
    for module, mode in modes:
        if module.training is not mode:
            module.training = mode
