# SPDX-License-Identifier: Apache-2.0
"""The picture of `lamella demo`: calls beside their limits, curves of training, what was seen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lamella.benchmarks.measure import format_time

if TYPE_CHECKING:
    from lamella.cli.demo import Measurement
    from lamella.cli.training import Trained

# Ours stands out, the others step back; readable in grey and with any colour vision.
OURS, OTHERS, LIMIT = "#0b6e4f", "#7b8794", "#c8553d"
INK, FAINT, RULE = "#1f2933", "#6b7785", "#e4e7eb"
COLUMNS, ROWS = 10, 6
# One style each, so that grey prints tell them apart.
STYLES = (("-", OURS), ("--", OTHERS), (":", INK))


def draw(
    path: Path,
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    predicted: NDArray[np.int64],
    shape: str,
    measurements: list[Measurement],
    fits: list[Trained],
) -> None:
    """Writes the picture as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with pyplot.rc_context({"font.family": "DejaVu Sans", "text.color": INK, "font.size": 10}):
        figure = pyplot.figure(figsize=(12.0, 6.4), dpi=150, facecolor="white")
        figure.text(
            0.03, 0.92, "Handwritten digits: training and predicting", size=17, weight="bold"
        )
        figure.text(
            0.03,
            0.872,
            f"{shape}, one thread; left: the weights that scikit-learn fitted, in every row",
            color=FAINT,
        )
        grid = figure.add_gridspec(
            len(measurements), 2, width_ratios=(1.6, 1.0), hspace=0.42, wspace=0.08,
            left=0.115, right=0.975, top=0.785, bottom=0.12,
        )  # fmt: skip
        _times(figure, grid, measurements)
        right = grid[:, 1].subgridspec(2, 1, height_ratios=(1.0, 1.15), hspace=0.28)
        _curves(figure.add_subplot(right[0]), fits)
        _digits(figure.add_subplot(right[1]), images, labels, predicted)
        figure.savefig(path)
        pyplot.close(figure)


def _times(figure: Any, grid: Any, measurements: list[Measurement]) -> None:
    """Dots on a logarithmic scale; the line behind a dot is its distance from the limit."""
    every = [time for m in measurements for time in (*m.times.values(), m.limit)]
    low, high = min(every) / 1.8, max(every) * 9.0
    decades = [10.0**e for e in range(-9, 1) if low <= 10.0**e <= high]
    for i, m in enumerate(measurements):
        axes = figure.add_subplot(grid[i, 0])
        ours = next(iter(m.times.values()))
        axes.vlines(decades, -0.6, len(m.times) - 0.4, color=RULE, lw=0.8, zorder=0)
        axes.vlines(m.limit, -0.6, len(m.times) - 0.4, color=LIMIT, lw=1.6, zorder=1)
        for at, time in enumerate(m.times.values()):
            colour = OTHERS if at else OURS
            axes.hlines(at, m.limit, time, color=colour, lw=5.0, zorder=2)
            axes.plot(time, at, "o", color=colour, ms=10, zorder=3)
            text = format_time(time) + (f"   {time / ours:.1f} x" if at else "")
            weight = "normal" if at else "bold"
            axes.text(time * 1.25, at, text, va="center", weight=weight)
        axes.set(xscale="log", xlim=(low, high), ylim=(len(m.times) - 0.4, -0.6))
        axes.set_yticks(range(len(m.times)), list(m.times))
        axes.set_xticks(
            decades, [format_time(d).replace(".00", "").replace(".0", "") for d in decades]
        )
        axes.tick_params(length=0, labelcolor=INK)
        axes.tick_params(axis="x", labelcolor=FAINT, labelsize=8.5)
        axes.minorticks_off()
        axes.spines[:].set_visible(False)
        title = "1 image" if m.batch == 1 else f"{m.batch} images"
        axes.set_title(title, loc="left", weight="bold", size=10.5)
        axes.set_title(
            f"this machine's limit: {format_time(m.limit)}, set by {m.limit_name}",
            loc="right", size=9, color=LIMIT,
        )  # fmt: skip
        if i + 1 < len(measurements):
            axes.set_xticklabels([])
    figure.text(
        0.115, 0.035,
        "time of a call, logarithmic; the line is the distance from the limit",
        color=FAINT, size=9,
    )  # fmt: skip


def _curves(axes: Any, fits: list[Trained]) -> None:
    """Loss against the seconds of the fit, both logarithmic: left is faster, down is better."""
    for (line, colour), one in zip(STYLES, fits, strict=False):
        epochs = len(one.losses)
        seconds = [one.seconds * (epoch + 1) / epochs for epoch in range(epochs)]
        label = f"{one.name}: {format_time(one.seconds)}, {100.0 * one.accuracy:.1f} % right"
        axes.plot(seconds, one.losses, line, color=colour, lw=2.0, label=label)
    axes.set(xscale="log", yscale="log")
    # Room for the legend, where no curve comes.
    axes.set_xlim(right=40.0 * max(one.seconds for one in fits))
    axes.set_title("training: loss against seconds", loc="left", weight="bold", size=10.5)
    axes.tick_params(labelsize=8.5, labelcolor=FAINT, color=RULE)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(RULE)
    axes.legend(frameon=False, fontsize=8.5, loc="upper right")


def _digits(
    axes: Any,
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    predicted: NDArray[np.int64],
) -> None:
    height, width = 12, 16
    sheet = np.zeros((ROWS * height, COLUMNS * width), np.float32)
    for i in range(ROWS * COLUMNS):
        row, column = divmod(i, COLUMNS)
        top, left = row * height + 2, column * width + 3
        sheet[top : top + 8, left : left + 8] = images[i].reshape(8, 8)
        right = predicted[i] == labels[i]
        axes.text(
            left + 8.6, top + 6.9, str(predicted[i]), size=10, weight="bold",
            color=OURS if right else LIMIT,
        )  # fmt: skip
    axes.imshow(sheet, cmap="Greys", vmin=0.0, vmax=1.15, interpolation="nearest")
    count = int(np.count_nonzero(predicted == labels))
    axes.set_title("images the net has not seen", loc="left", weight="bold", size=10.5)
    axes.set_title(f"{count} of {len(labels)} right", loc="right", size=9, color=OURS)
    axes.set_anchor("N")
    axes.axis("off")
