"""Evaluate: score the bundle that will be served, from the raw pixels of the test set."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from components import bundle, dataset, figures, files, params, stage, tracking
from components.bundle import Probabilities
from components.dataset import Labels, Split
from components.errors import ParamsError

log = logging.getLogger(__name__)

# scikit-learn's argument for a class that was never predicted; its type stub knows only the default, a text.
_NO_ROW_IS_ZERO: dict[str, Any] = {"zero_division": 0}


@dataclass(frozen=True)
class Calibration:
    """How far confidence is from accuracy: the expected error, and the bins it is made of."""

    error: float
    bins: list[dict[str, float]]


def calibration(labels: Labels, probabilities: Probabilities, bins: int) -> Calibration:
    """Return the expected calibration error over equal-width bins of confidence.

    Guo, Pleiss, Sun and Weinberger, On Calibration of Modern Neural Networks, 2017, equation 3.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    rows: list[dict[str, float]] = []
    for number in range(bins):
        inside = bin_of == number
        images = int(inside.sum())
        means = (float(confidence[inside].mean()), float(right[inside].mean())) if images else (0.0, 0.0)
        rows.append({"images": images, "confidence": means[0], "accuracy": means[1]})
    error = sum(row["images"] / len(labels) * abs(row["accuracy"] - row["confidence"]) for row in rows)
    return Calibration(error, rows)


def metrics(labels: Labels, probabilities: Probabilities, calibration_error: float) -> dict[str, float]:
    """Return accuracy, loss (mean cross-entropy), top-2 accuracy, macro F1 and calibration error."""
    from sklearn.metrics import f1_score, log_loss, top_k_accuracy_score

    classes = np.arange(probabilities.shape[1])
    predicted = probabilities.argmax(axis=1)
    top_2 = top_k_accuracy_score(labels, probabilities, k=2, labels=classes) if len(classes) > 2 else 1.0  # noqa: PLR2004
    shares = probabilities / probabilities.sum(axis=1, keepdims=True, dtype=np.float64)
    return {
        "accuracy": float((predicted == labels).mean()),
        "loss": float(log_loss(labels, shares, labels=classes)),
        "top_2_accuracy": float(top_2),
        "macro_f1": float(f1_score(labels, predicted, average="macro", **_NO_ROW_IS_ZERO, labels=classes)),
        "calibration_error": calibration_error,
    }


def per_class(labels: Labels, predicted: npt.NDArray[np.int64], names: Sequence[str]) -> pd.DataFrame:
    """Return one row a class: class_name, precision, recall, f1, images."""
    from sklearn.metrics import precision_recall_fscore_support

    columns = precision_recall_fscore_support(labels, predicted, labels=np.arange(len(names)), **_NO_ROW_IS_ZERO)
    table = pd.DataFrame(dict(zip(("precision", "recall", "f1", "images"), columns, strict=True)))
    table.insert(0, "class_name", list(names))
    return table


def examples(test: Split, probabilities: Probabilities, names: Sequence[str], index: list[int]) -> list[dict[str, Any]]:
    """Return what is shown of the test images at `index`: their true and predicted labels and names."""
    beyond = [number for number in index if number >= len(test)]
    if beyond:
        raise ParamsError(
            f"evaluate.examples: expected test images 0 to {len(test) - 1}, received {beyond}; correct it"
        )
    predicted = probabilities.argmax(axis=1)
    return [
        {
            "index": number,
            "label": int(test.labels[number]),
            "name": names[int(test.labels[number])],
            "predicted_label": int(predicted[number]),
            "predicted_name": names[int(predicted[number])],
            "confidence": round(float(probabilities[number].max()), 4),
        }
        for number in index
    ]


def draw(
    test: Split,
    probabilities: Probabilities,
    names: Sequence[str],
    shown: list[dict[str, Any]],
    *,
    mistakes: int,
    folder: Path,
) -> None:
    """Draw the confusion matrix, the most confident mistakes, and the shown examples."""
    from sklearn.metrics import confusion_matrix

    predicted = probabilities.argmax(axis=1)
    matrix = np.asarray(confusion_matrix(test.labels, predicted, labels=np.arange(len(names))))
    figures.confusion(matrix, names, folder / "confusion.png")
    wrong = np.flatnonzero(predicted != test.labels)
    worst = wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")][:mistakes]
    said, true = ([names[int(label)] for label in labels[worst]] for labels in (predicted, test.labels))
    sure = probabilities[worst].max(axis=1)
    titles = [f"#{n}: {a} {p:.0%}\nis {b}" for n, a, p, b in zip(worst, said, sure, true, strict=True)]
    figures.gallery(test.images[worst], titles, [False] * len(worst), folder / "mistakes.png", columns=6)
    titles = [f"#{row['index']}: {row['predicted_name']}\nis {row['name']}" for row in shown]
    right = [row["label"] == row["predicted_label"] for row in shown]
    index = [row["index"] for row in shown]
    figures.gallery(test.images[index], titles, right, folder / "examples.png", columns=min(5, len(shown)))


def main(raw: Path, model: Path, training: Path, reports: Path) -> None:
    """Score the bundle `model` on the test set of `raw`, and go on with the run of `training`."""
    settings = params.load().evaluate
    images, loaded = dataset.load(raw), bundle.load(model)
    test, names = images.test, loaded.class_names
    probabilities = loaded.probabilities(test.images, batch_size=settings.batch_size)
    shown = examples(test, probabilities, names, settings.examples)
    calibrated = calibration(test.labels, probabilities, settings.calibration_bins)
    scores = metrics(test.labels, probabilities, calibrated.error)
    predicted = probabilities.argmax(axis=1)
    with files.new_folder(reports) as new:
        files.write_json(new / "metrics.json", scores)
        per_class(test.labels, predicted, names).to_csv(new / "classes.csv", index=False)
        named = np.array(names)
        pd.DataFrame({"true": named[test.labels], "predicted": named[predicted]}).to_csv(
            new / "confusion.csv", index=False
        )
        np.savez(new / "predictions.npz", labels=test.labels, probabilities=probabilities)
        identity = {
            "model_digest": bundle.digest(model),
            "test_digest": test.digest(),
            "data_digest": loaded.data_digest,
        }
        files.write_json(new / "evaluation.json", identity | {"examples": shown})
        draw(test, probabilities, names, shown, mistakes=settings.mistakes, folder=new)
        figures.calibration(calibrated.bins, calibrated.error, new / "calibration.png")
    log.info("test accuracy %.4f on %s images", scores["accuracy"], len(test))
    for row in shown:
        log.info("test image %(index)s: %(predicted_name)s (%(predicted_label)s), is %(name)s (%(label)s)", row)
    tracking.publish_if_reachable(training, reports)


if __name__ == "__main__":
    stage.run(main)
