"""Figures of merit against hand-made tables, and against scikit-learn where it has them."""

import numpy as np
import pytest

from components import evaluate
from components.dataset import Split
from components.errors import ParamsError

NAMES = ("boot", "bag", "coat")
LABELS = np.array([0, 0, 1, 1, 2, 2])
PROBABILITIES = np.array(
    [[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.1, 0.9, 0.0], [0.2, 0.5, 0.3], [0.5, 0.1, 0.4], [0.0, 0.1, 0.9]], np.float32
)
PREDICTED = PROBABILITIES.argmax(axis=1)


def test_accuracy_loss_and_top_2_are_what_they_are_by_hand() -> None:
    scores = evaluate.metrics(LABELS, PROBABILITIES, 0.25)
    assert scores["accuracy"] == 4 / 6
    assert scores["top_2_accuracy"] == 1.0
    assert scores["loss"] == pytest.approx(-np.log([0.8, 0.3, 0.9, 0.5, 0.4, 0.9]).mean(), rel=1e-5)
    assert scores["calibration_error"] == 0.25


def test_calibration_error_is_the_weighted_gap_by_hand() -> None:
    # two bins: [0, 0.5) is empty; all confidences (0.8 0.6 0.9 0.5 0.5 0.9) are in [0.5, 1]
    calibrated = evaluate.calibration(LABELS, PROBABILITIES, bins=2)
    assert calibrated.bins[0] == {"images": 0, "confidence": 0.0, "accuracy": 0.0}
    assert calibrated.error == pytest.approx(abs(4 / 6 - 4.2 / 6), abs=1e-6)


def test_calibration_error_sums_over_bins() -> None:
    # four bins: {0.6, 0.5, 0.5} with 1 of 3 right, {0.8, 0.9, 0.9} with 3 of 3 right
    calibrated = evaluate.calibration(LABELS, PROBABILITIES, bins=4)
    expected = 0.5 * abs(1 / 3 - 1.6 / 3) + 0.5 * abs(1 - 2.6 / 3)
    assert calibrated.error == pytest.approx(expected, abs=1e-6)


def test_a_certain_and_right_model_is_calibrated() -> None:
    assert evaluate.calibration(LABELS, np.eye(3, dtype=np.float32)[LABELS], bins=15).error == 0


def test_per_class_table_is_what_it_is_by_hand() -> None:
    table = evaluate.per_class(LABELS, PREDICTED, NAMES).set_index("class_name")
    assert table.loc["boot", ["precision", "recall", "images"]].tolist() == [1 / 2, 1 / 2, 2]
    assert table.loc["bag", ["precision", "recall"]].tolist() == [2 / 3, 1.0]
    assert table.loc["coat", "f1"] == pytest.approx(2 * 1 * 0.5 / 1.5)


def test_a_class_that_was_never_predicted_counts_as_zero() -> None:
    table = evaluate.per_class(np.array([0, 1]), np.array([0, 0]), ("a", "b"))
    assert table.loc[1, ["precision", "recall", "f1"]].tolist() == [0, 0, 0]


def split() -> Split:
    return Split(np.zeros((6, 2, 2), np.uint8), LABELS, np.zeros((6, 2), np.int32))


def test_examples_carry_both_labels_and_names() -> None:
    (row,) = evaluate.examples(split(), PROBABILITIES, NAMES, [4])
    assert row == {
        "index": 4, "label": 2, "name": "coat", "predicted_label": 0, "predicted_name": "boot", "confidence": 0.5,
    }  # fmt: skip


def test_an_example_beyond_the_test_set_is_refused() -> None:
    with pytest.raises(ParamsError, match=r"evaluate.examples: expected test images 0 to 5, received \[6\]"):
        evaluate.examples(split(), PROBABILITIES, NAMES, [0, 6])
