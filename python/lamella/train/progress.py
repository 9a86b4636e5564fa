# SPDX-License-Identifier: Apache-2.0
"""The progress of a training on stderr: a bar of tqdm's, or a line for each epoch.

By default there is a bar if tqdm is installed and stderr is a terminal, and else nothing.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from time import perf_counter
from typing import TYPE_CHECKING, Any

from lamella.train.callbacks import Callback

if TYPE_CHECKING:
    from lamella.train.loop import Fit

__all__ = ["Bar", "Lines", "progress"]

# The bar moves this often: seen as steady, and no cost to small batches.
_SECONDS = 0.1


def progress(verbose: bool | None) -> list[Callback]:
    """The callbacks that show progress: verbose=False none, True always, None on a terminal.

    >>> from lamella.train.progress import progress
    >>> progress(False)
    []
    """
    if verbose is False:
        return []
    if sys.stderr is not None and sys.stderr.isatty() and importlib.util.find_spec("tqdm"):
        return [Bar()]
    return [Lines()] if verbose else []


class Lines(Callback):
    """A line for each epoch."""

    def on_epoch_end(self, fit: Fit) -> None:
        """Writes the line."""
        print(f"epoch {fit.epoch}/{fit.epochs}  {_values(fit)}", file=sys.stderr, flush=True)


class Bar(Callback):
    """A bar over all batches of all epochs, or over the epochs if a generator gives the batches."""

    def __init__(self) -> None:
        self._tqdm: Any = None
        self._next = 0.0

    def on_train_begin(self, fit: Fit) -> None:
        """Opens the bar where training is."""
        tqdm = importlib.import_module("tqdm").tqdm
        total = fit.epochs * (fit.batches or 1)
        unit = "batch" if fit.batches else "epoch"
        self.batch_hooks = bool(fit.batches)
        self._tqdm = tqdm(total=total, initial=self._position(fit), unit=unit, leave=True)

    @staticmethod
    def _position(fit: Fit) -> int:
        return fit.epoch * (fit.batches or 1) + (fit.batch if fit.batches else 0)

    def _move(self, fit: Fit) -> None:
        self._tqdm.update(self._position(fit) - self._tqdm.n)

    def on_batch_end(self, fit: Fit) -> None:
        """Moves, if the last time was long enough ago."""
        now = perf_counter()
        if now >= self._next:
            self._next = now + _SECONDS
            self._move(fit)

    def on_epoch_end(self, fit: Fit) -> None:
        """Shows the values of the epoch."""
        self._tqdm.set_postfix_str(_values(fit), refresh=False)
        self._move(fit)

    def on_train_end(self, fit: Fit) -> None:
        """Closes the bar."""
        self._tqdm.close()

    def on_interrupt(self, fit: Fit) -> None:
        """Closes the bar where it is."""
        if self._tqdm is not None:
            self._tqdm.close()


def _values(fit: Fit) -> str:
    shown = {name: value for name, value in fit.logs.items() if name not in ("lr", "seconds")}
    return "  ".join(f"{name} {value:.4g}" for name, value in shown.items())
