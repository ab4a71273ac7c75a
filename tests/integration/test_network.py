"""From a list of layers to a network: what is built, and how each mistake is named."""

from typing import Any

import numpy as np
import pytest

from components import network, params, train
from components.errors import NetworkError
from components.normalizer import Normalizer

SLIDES = params.load().networks["slides"]
SHAPE = (28, 28, 1)
COMPILE = params.load().train.compile


def compiled(**changes: Any) -> params.Compile:
    return COMPILE.model_copy(update=changes)


def dense(*, activation: str | None = "softmax") -> list[params.Spec]:
    return ["Flatten", {"Dense": {"units": 10, "activation": activation}}]


def test_slides_is_the_network_of_the_slides() -> None:
    built = network.build(SLIDES, SHAPE, 10, name="slides")
    kinds = [type(layer).__name__ for layer in built.layers]
    assert kinds == ["Conv2D", "MaxPooling2D", "Flatten", "Dense", "Dropout", "Dense"]
    convolution, pooling, _, hidden, dropout, out = (layer.get_config() for layer in built.layers)
    assert (convolution["filters"], convolution["kernel_size"], pooling["pool_size"]) == (28, (3, 3), (2, 2))
    assert (hidden["units"], hidden["activation"], dropout["rate"]) == (128, "relu", 0.2)
    assert (out["units"], out["activation"]) == (10, "softmax")
    # 3*3*28 + 28, 13*13*28*128 + 128, 128*10 + 10
    assert built.count_params() == 280 + 605_824 + 1_290


def test_shipped_training_is_that_of_the_slides() -> None:
    settings = params.load().train
    assert (settings.network, settings.batch_size, settings.epochs) == ("slides", 128, 20)
    assert (settings.compile.optimizer, settings.compile.loss) == ("adam", "sparse_categorical_crossentropy")


@pytest.mark.parametrize(
    "layer",
    [
        {"Conv2D": {"filters": 4, "kernel_size": [3, 3], "strides": [2, 2], "padding": "same", "activation": "relu"}},
        {"AveragePooling2D": {"pool_size": [2, 2], "strides": 2, "padding": "same"}},
        {"MaxPooling2D": {"pool_size": 2}},
        "BatchNormalization",
        {"Activation": {"activation": "gelu"}},
        {"LeakyReLU": {"negative_slope": 0.1}},
        {"Conv2D": {"filters": 4, "kernel_size": 3, "kernel_initializer": "he_normal", "kernel_regularizer": "l2"}},
        {"SeparableConv2D": {"filters": 4, "kernel_size": 3, "depthwise_regularizer": {"L1": {"l1": 0.01}}}},
        {"DepthwiseConv2D": {"kernel_size": 3, "depthwise_initializer": {"HeUniform": {"seed": 1}}}},
        {"Conv2D": {"filters": 4, "kernel_size": 3, "kernel_constraint": {"MaxNorm": {"max_value": 2}}}},
        {"TimeDistributed": {"layer": {"Dense": {"units": 3}}}},
    ],
)
def test_a_built_in_layer_takes_its_own_arguments(layer: params.Spec) -> None:
    built = network.build([layer, *dense()], SHAPE, 10, name="test")
    kind = layer if isinstance(layer, str) else next(iter(layer))
    assert type(built.layers[0]).__name__ == kind
    assert built(np.zeros((2, *SHAPE), np.float32)).shape == (2, 10)


def test_a_regularizer_has_the_strength_that_was_asked_for() -> None:
    layer: params.Spec = {"Dense": {"units": 10, "kernel_regularizer": {"L2": {"l2": 0.125}}}}
    built = network.build(["Flatten", layer], SHAPE, 10, name="test")
    assert float(built.layers[1].kernel_regularizer.l2) == 0.125


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        (["Conv2d", *dense()], ["layer 1 (Conv2d)", "did you mean Conv2D"]),
        (["Flaten", *dense()], ["layer 1 (Flaten)", "did you mean Flatten"]),
        ([{"Conv2D": {"filter": 3, "kernel_size": 3}}], ["layer 1 (Conv2D)", "filter", "did you mean filters"]),
        ([{"Conv2D": {"kernel_size": 3}}], ["layer 1 (Conv2D)", "filters"]),
        ([{"Conv2D": {"filters": -1, "kernel_size": 3}}], ["layer 1 (Conv2D)", "filters"]),
        ([{"Dense": {"units": 3, "activation": "rellu"}}], ["layer 1 (Dense)", "rellu"]),
        (
            ["Flatten", {"Conv2D": {"filters": 3, "kernel_size": 3}}],
            ["layer 2 (Conv2D)", "(784,)", "change this layer"],
        ),
        ([{"MaxPooling2D": {"pool_size": 40}}, *dense()], ["layer 1 (MaxPooling2D)", "(28, 28, 1)"]),
        (["Flatten", {"Dense": {"units": 11}}], ["layer 2", "expected 10 outputs", "(11,)", "units: 10"]),
        ([{"Dense": {"units": 10}}], ["layer 1", "expected 10 outputs", "(28, 28, 10)"]),
        ([{"Dense": {"units": 3, "kernel_regularizer": {"L3": {}}}}], ["layer 1 (Dense)", "kernel_regularizer", "L3"]),
        ([{"Dense": {"units": 3}, "Flatten": {}}], ["layer 1", "expected a name"]),
        ([{"Lambda": {"function": "x"}}], ["layer 1 (Lambda)", "unknown"]),
    ],
)
def test_a_mistake_is_named_with_its_layer_and_the_remedy(layers: list[params.Spec], said: list[str]) -> None:
    with pytest.raises(NetworkError) as raised:
        network.build(layers, SHAPE, 10, name="test")
    message = str(raised.value)
    assert all(part in message for part in said), message
    assert "\n" not in message


@pytest.mark.parametrize(
    "optimizer",
    [
        "adam",
        "sgd",
        {"SGD": {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True}},
        {"AdamW": {"learning_rate": {"CosineDecay": {"initial_learning_rate": 0.01, "decay_steps": 100}}}},
        {"RMSprop": {"learning_rate": {"PiecewiseConstantDecay": {"boundaries": [5], "values": [0.1, 0.01]}}}},
    ],
)
def test_an_optimizer_takes_its_arguments_and_schedules(optimizer: params.Spec) -> None:
    built = network.build(dense(), SHAPE, 10, name="test")
    network.compile_network(built, compiled(optimizer=optimizer))
    name = optimizer if isinstance(optimizer, str) else next(iter(optimizer))
    assert type(built.optimizer).__name__.lower() == name.lower()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"optimizer": "adamm"}, ["train.compile.optimizer", "adamm", "adam"]),
        ({"optimizer": {"Adam": {"lr": 0.1}}}, ["train.compile.optimizer", "lr"]),
        ({"loss": "sparse_crossentropy"}, ["train.compile.loss", "sparse_crossentropy"]),
        ({"metrics": ["acuracy"]}, ["train.compile.metrics", "acuracy"]),
        ({"metrics": ["categorical_accuracy"]}, ["train.compile.metrics", "one-hot", "accuracy"]),
        (
            {"loss": "categorical_crossentropy", "metrics": ["sparse_categorical_accuracy"]},
            ["train.compile.metrics", "numbered", "accuracy"],
        ),
    ],
)
def test_a_mistake_in_compile_is_named(changes: dict[str, Any], said: list[str]) -> None:
    built = network.build(dense(), SHAPE, 10, name="test")
    with pytest.raises(NetworkError) as raised:
        network.compile_network(built, compiled(**changes))
    assert all(part in str(raised.value) for part in said), str(raised.value)


@pytest.mark.parametrize(
    ("loss", "metric"),
    [
        ("sparse_categorical_crossentropy", "accuracy"),
        ("sparse_categorical_crossentropy", "sparse_categorical_accuracy"),
        ("categorical_crossentropy", "accuracy"),
        ("categorical_crossentropy", "categorical_accuracy"),
        ("binary_crossentropy", "binary_accuracy"),
        ("mean_squared_error", "categorical_accuracy"),
        ({"CategoricalCrossentropy": {"label_smoothing": 0.1}}, "accuracy"),
    ],
)
def test_every_accuracy_works_with_a_loss_it_fits(loss: params.Spec, metric: str) -> None:
    built = network.build(dense(), SHAPE, 10, name="test")
    settings = params.load().train.model_copy(
        update={
            "epochs": 1,
            "compile": compiled(loss=loss, metrics=[metric], weighted_metrics=[metric], loss_weights=[0.5]),
            "class_weight": {0: 2.0},
        }
    )
    network.compile_network(built, settings.compile)
    rng = np.random.default_rng(0)
    part = train.Part(rng.random((64, *SHAPE), np.float32), rng.integers(0, 10, 64))
    history = train.fit(built, part, part, settings, lambda *_: None)
    assert 0 <= history[f"val_{metric}"].iloc[-1] <= 1
    assert np.isfinite(history["loss"].iloc[-1])


@pytest.mark.parametrize("grayscale", [False, True])
@pytest.mark.parametrize("logits", [False, True])
def test_the_served_network_is_the_trained_one_behind_the_normalizer(grayscale: bool, logits: bool) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    scaling = (
        Normalizer(grayscale, (0.3,), (0.2,)) if grayscale else Normalizer(False, (0.3, 0.4, 0.5), (0.2, 0.3, 0.4))
    )
    inputs = scaling(images)
    built = network.build(dense(activation=None if logits else "softmax"), inputs.shape[1:], 10, name="test")
    expected = train.answer(built, inputs, logits=logits)
    served = network.served(built, scaling, images.shape[1:], logits=logits)
    np.testing.assert_allclose(np.asarray(served(images)), expected, atol=1e-6)
    np.testing.assert_allclose(expected.sum(axis=1), 1, atol=1e-5)
