"""Training: seeded to the bit, and every option of `fit` that params.yaml has."""

import hashlib
from typing import Any

import numpy as np
import pandas as pd
import pytest

from components import network, normalizer, params, train
from components.errors import NetworkError, ParamsError
from tests.conftest import garments

SCALING = normalizer.Normalizer(False, (0.3,), (0.4,))
SETTINGS = params.load()


def part(each: int, *, seed: int) -> train.Part:
    images, labels = garments(each, seed=seed)
    return train.Part(SCALING(images), labels)


def settings(**changes: Any) -> params.Train:
    return SETTINGS.train.model_copy(update={"epochs": 2, "batch_size": 32, **changes})


def fit(wanted: params.Train, *, pieces: int = 10) -> tuple[str, pd.DataFrame]:
    """Return the SHA-256 of the trained weights, and the history."""
    train.prepare(wanted.seed)
    built = network.build(SETTINGS.networks["slides"], (28, 28, 1), 10, name="slides")
    network.compile_network(built, wanted.compile)
    history = train.fit(built, part(pieces, seed=1), part(4, seed=2), wanted, lambda *_: None)
    return hashlib.sha256(b"".join(weight.tobytes() for weight in built.get_weights())).hexdigest(), history


def test_the_same_seed_gives_the_same_weights_to_the_bit() -> None:
    (first, history), (second, again) = fit(settings()), fit(settings())
    assert first == second
    pd.testing.assert_frame_equal(history.drop(columns="time"), again.drop(columns="time"))


def test_another_seed_gives_other_weights() -> None:
    assert fit(settings())[0] != fit(settings(seed=43))[0]


def test_shuffling_is_a_parameter() -> None:
    assert fit(settings())[0] != fit(settings(shuffle=False))[0]


def test_the_history_has_a_row_an_epoch_and_every_metric() -> None:
    shown: list[tuple[int, dict[str, float]]] = []
    train.prepare(1)
    built = network.build(SETTINGS.networks["slides"], (28, 28, 1), 10, name="slides")
    network.compile_network(built, SETTINGS.train.compile)
    history = train.fit(
        built,
        part(5, seed=1),
        part(2, seed=2),
        settings(),
        lambda metrics, epoch, _: shown.append((epoch, dict(metrics))),
    )
    assert list(history.columns) == ["epoch", "time", "accuracy", "loss", "val_accuracy", "val_loss"]
    assert history["epoch"].tolist() == [1, 2] == [epoch for epoch, _ in shown]
    assert shown[1][1]["val_loss"] == history["val_loss"].iloc[1]


def test_early_stopping_ends_training_once_the_validation_loss_gets_no_better() -> None:
    patient = params.EarlyStopping(patience=2, min_delta=1000.0)
    _, history = fit(settings(epochs=20, early_stopping=patient))
    assert len(history) == 3


def test_best_weights_are_those_of_the_lowest_validation_loss() -> None:
    rate = {"SGD": {"learning_rate": 0.1, "momentum": 0.95}}  # too fast: it gets worse after the start
    wild = SETTINGS.train.compile.model_copy(update={"optimizer": rate})
    losses: list[float] = []
    for best in (False, True):
        wanted = settings(epochs=4, compile=wild, best_weights=best)
        train.prepare(wanted.seed)
        built = network.build(SETTINGS.networks["slides"], (28, 28, 1), 10, name="slides")
        network.compile_network(built, wanted.compile)
        validation = part(4, seed=2)
        history = train.fit(built, part(10, seed=1), validation, wanted, lambda *_: None)
        losses.append(float(built.evaluate(validation.images, validation.labels, verbose=0)[0]))
    assert history["val_loss"].idxmin() != len(history) - 1, "the last epoch must not be the best one here"
    assert losses[1] == pytest.approx(history["val_loss"].min(), rel=1e-4)
    assert losses[0] == pytest.approx(history["val_loss"].iloc[-1], rel=1e-4)


def test_balanced_class_weights_are_inversely_proportional_to_frequency() -> None:
    labels = np.array([0] * 6 + [1] * 2)
    assert train.class_weights(labels, 2, "balanced") == {0: 8 / 12, 1: 8 / 4}


def test_class_weights_of_some_classes_leave_the_others_at_one() -> None:
    assert train.class_weights(np.array([0, 1, 2]), 3, {1: 2.5}) == {0: 1.0, 1: 2.5, 2: 1.0}


def test_a_class_weight_of_no_class_is_refused() -> None:
    with pytest.raises(ParamsError, match="expected classes 0 to 9, received"):
        train.class_weights(np.array([0]), 10, {10: 1.0})


def test_class_weights_change_what_is_learned() -> None:
    assert fit(settings())[0] != fit(settings(class_weight={0: 10.0}))[0]


def test_labels_are_one_hot_where_the_loss_wants_them_so() -> None:
    labels = np.array([2, 0])
    assert train.targets(labels, 3, one_hot=True).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert train.targets(labels, 3, one_hot=False) is labels


def test_parameters_are_shown_flat() -> None:
    assert train.flat({"a": {"b": 1, "c": [1, 2]}, "d": "x", "e": None}) == {
        "a.b": "1", "a.c": "[1, 2]", "d": "x", "e": "null",
    }  # fmt: skip


def test_a_loss_that_does_not_stay_finite_is_an_error_and_no_model() -> None:
    wild = SETTINGS.train.compile.model_copy(update={"optimizer": {"SGD": {"learning_rate": 1e6}}})
    with pytest.raises(NetworkError, match=r"expected a loss that stays finite.*lower the learning rate"):
        fit(settings(compile=wild, epochs=9))
