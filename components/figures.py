"""The pictures of a run: sheets of samples, curves, confusion, calibration, mistakes."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from components import files
from components.dataset import Dataset, Images

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SAMPLES = 10  # of each class
DPI = 100


@contextmanager
def _figure(path: Path, width: float, height: float) -> Generator["Figure"]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    yield figure
    with files.new_file(path) as new:
        figure.savefig(new, dpi=DPI, metadata={"Software": None})


def _show(axes: "Axes", image: Images, title: str, *, color: str = "black") -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    axes.set_title(title, fontsize=8, color=color)
    axes.axis("off")


def write_sheets(dataset: Dataset, folder: Path) -> None:
    """Write samples.png (the first training images of each class) and pixels.png (one as its numbers)."""
    with files.new_folder(folder) as new:
        samples(dataset, new / "samples.png")
        pixels(dataset.train.images[0], dataset.class_names[int(dataset.train.labels[0])], new / "pixels.png")


def samples(dataset: Dataset, path: Path) -> None:
    """Draw the first training images of each class, a row a class, under its name."""
    rows = len(dataset.class_names)
    with _figure(path, SAMPLES * 0.8 + 1.6, rows * 0.85 + 0.4) as figure:
        grid = figure.subplots(rows, SAMPLES, squeeze=False)
        for label, name in enumerate(dataset.class_names):
            found = np.flatnonzero(dataset.train.labels == label)[:SAMPLES]
            for axes in grid[label]:
                axes.axis("off")
            for axes, index in zip(grid[label], found, strict=False):
                axes.imshow(dataset.train.images[index], cmap="gray", vmin=0, vmax=255)
            grid[label][0].text(-0.15, 0.5, name, ha="right", va="center", transform=grid[label][0].transAxes)


def pixels(image: Images, name: str, path: Path) -> None:
    """Draw one image as the grid of its pixel values (of a colour image: their mean)."""
    values = image if image.ndim == 2 else image.mean(axis=2).astype(np.uint8)  # noqa: PLR2004 - height and width
    height, width = values.shape
    with _figure(path, width * 0.36, height * 0.36 + 0.4) as figure:
        axes = figure.subplots()
        axes.imshow(values, cmap="gray", vmin=0, vmax=255)
        axes.set_title(f"{name}: {height} x {width} pixels, 0 to 255")
        axes.set_xticks(range(0, width, 4))
        axes.set_yticks(range(0, height, 4))
        for (row, column), value in np.ndenumerate(values):
            color = "white" if value < 128 else "black"  # noqa: PLR2004 - half of 255
            axes.text(column, row, str(value), ha="center", va="center", fontsize=7, color=color)


def curves(history: Mapping[str, Sequence[float]], path: Path) -> None:
    """Draw every metric over the epochs, that of the validation part beside that of the training part."""
    names = [name for name in history if not name.startswith("val_") and f"val_{name}" in history]
    with _figure(path, 5.5 * len(names), 4) as figure:
        for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
            epochs = range(1, len(history[name]) + 1)
            axes.plot(epochs, history[name], marker=".", label="training")
            axes.plot(epochs, history[f"val_{name}"], marker=".", label="validation")
            axes.set(title=name, xlabel="epoch")
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.grid(alpha=0.3)
            axes.legend()


def confusion(matrix: npt.NDArray[np.int64], names: Sequence[str], path: Path) -> None:
    """Draw the counts (classes, classes), true class by row and predicted class by column."""
    size = len(names) * 0.65 + 2
    with _figure(path, size + 0.6, size) as figure:
        axes = figure.subplots()
        shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="predicted", ylabel="true")
        for (row, column), count in np.ndenumerate(matrix):
            color = "white" if shares[row, column] > 0.5 else "black"  # noqa: PLR2004 - the darker half
            axes.text(column, row, str(count), ha="center", va="center", fontsize=8, color=color)


def calibration(bins: Sequence[Mapping[str, Any]], error: float, path: Path) -> None:
    """Draw the share of right answers over their mean confidence, a point a bin that is not empty."""
    with _figure(path, 5, 5) as figure:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color="gray", linestyle="--", label="perfectly calibrated")
        filled = [row for row in bins if row["images"]]
        axes.plot([r["confidence"] for r in filled], [r["accuracy"] for r in filled], marker="o", label="this model")
        axes.set(title=f"expected calibration error {error:.4f}", xlabel="confidence", ylabel="share right")
        axes.grid(alpha=0.3)
        axes.legend()


def gallery(images: Images, titles: Sequence[str], right: Sequence[bool], path: Path, *, columns: int) -> None:
    """Draw images under their titles, green where the answer was right and red where it was not."""
    rows = max(1, -(-len(images) // columns))
    with _figure(path, columns * 1.7, rows * 2.0) as figure:
        grid = figure.subplots(rows, columns, squeeze=False).reshape(-1)
        for axes in grid:
            axes.axis("off")
        for axes, image, title, ok in zip(grid, images, titles, right, strict=False):
            _show(axes, image, title, color="darkgreen" if ok else "darkred")
