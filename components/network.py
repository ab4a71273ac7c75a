"""From a list of layers in params.yaml to a compiled keras.Sequential, with every mistake named."""

import difflib
import inspect
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import keras
import numpy as np

from components.errors import NetworkError
from components.normalizer import LUMINANCE, Normalizer
from components.params import Compile, Spec

# Where the values of an argument come from when they are objects of their own: by the end of its name.
NESTED = {
    "regularizer": keras.regularizers,
    "initializer": keras.initializers,
    "constraint": keras.constraints,
    "learning_rate": keras.optimizers.schedules,
    "layer": keras.layers,
    "cell": keras.layers,
}


def build(layers: Sequence[Spec], shape: tuple[int, ...], classes: int, *, name: str) -> keras.Sequential:
    """Return the layers, in order, as a network from images of `shape` to one output a class.

    NetworkError names the layer, counted from 1, that is unknown, has a wrong argument or does not fit.
    """
    network = keras.Sequential([keras.Input(shape)], name=name)
    incoming = shape
    for number, spec in enumerate(layers, start=1):
        kind = spec if isinstance(spec, str) else next(iter(spec), "nothing")
        where = f"networks.{name}, layer {number} ({kind})"
        layer = make(keras.layers, spec, where)
        try:
            network.add(layer)
        except (ValueError, TypeError) as error:
            raise NetworkError(
                f"{where}: expected a layer that takes {incoming}, which is what comes in, received one that does not "
                f"({_first(error)}); change this layer or one before it"
            ) from error
        incoming = tuple(network.outputs[0].shape[1:])
    if incoming != (classes,):
        raise NetworkError(
            f"networks.{name}, layer {len(layers)}: expected {classes} outputs, one a class, received "
            f"{incoming}; end with Dense: {{units: {classes}, activation: softmax}}"
        )
    return network


def make(module: ModuleType, spec: Spec, where: str) -> Any:
    """Return the object of `module` that `spec` describes; NetworkError says what `spec` should have been."""
    if isinstance(spec, str):
        name, arguments = spec, dict[str, Any]()
    elif len(spec) == 1:
        name, arguments = next(iter(spec.items()))
    else:
        raise NetworkError(f"{where}: expected a name, or {{name: {{argument: value}}}}, received {spec}; correct it")
    kinds = {key: kind for key, kind in vars(module).items() if inspect.isclass(kind)}
    if name not in kinds or name == "Lambda":
        raise NetworkError(f"{where}: {_unknown(module.__name__.split('.')[-1], name, kinds)}")
    known = _arguments(kinds[name])
    for argument in arguments:
        if argument not in known:
            raise NetworkError(f"{where}: {_unknown('argument', argument, known)}")
    values = {key: _value(key, value, where) for key, value in arguments.items()}
    try:
        return kinds[name](**values)
    except (ValueError, TypeError) as error:
        raise NetworkError(f"{where}: {_first(error)}; correct it") from error


def _value(argument: str, value: Any, where: str) -> Any:
    """Return an argument's value; a one-key mapping stands for a regularizer, a schedule and the like."""
    module = next((module for end, module in NESTED.items() if argument.endswith(end)), None)
    if module is not None and isinstance(value, dict):
        return make(module, value, f"{where}, {argument}")
    return tuple(value) if isinstance(value, list) else value  # type: ignore[arg-type] - YAML gives list[Any]


def _arguments(kind: type) -> list[str]:
    """Return the arguments a class takes, those it hands on to its bases included."""
    names: list[str] = []
    for base in kind.__mro__:
        if "__init__" not in vars(base) or base is object:
            continue
        own = list(inspect.signature(base.__init__).parameters.values())[1:]
        names += [
            parameter.name
            for parameter in own
            if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        ]
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in own):
            break
    return names


def _unknown(what: str, name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    remedy = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(sorted(known))}"
    return f"unknown {what.removesuffix('s')} {name}; {remedy}"


def _first(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def one_hot_wanted(loss: Spec) -> bool:
    """Return whether a loss compares with one-hot labels (n, classes) and not with numbers (n,)."""
    return "sparse" not in _name(loss).lower()


def _name(spec: Spec) -> str:
    return spec if isinstance(spec, str) else next(iter(spec), "")


def compile_network(network: keras.Sequential, settings: Compile) -> bool:
    """Compile the network in place and return whether its loss takes logits.

    NetworkError says what is unknown, and which metric wants other labels than the loss.
    """
    one_hot = one_hot_wanted(settings.loss)
    for metric in [*settings.metrics, *settings.weighted_metrics]:
        name = _name(metric).lower()
        if name not in ("accuracy", "acc") and ("sparse" in name) == one_hot:
            wants = "numbered" if one_hot else "one-hot encoded"
            raise NetworkError(
                f"train.compile.metrics: expected metrics that fit {_name(settings.loss)}, received "
                f"{_name(metric)}, which wants {wants} labels; use accuracy, which fits both"
            )
    loss = _get(keras.losses, settings.loss, "train.compile.loss")
    optimizer = _get(keras.optimizers, settings.optimizer, "train.compile.optimizer")
    metrics = [_metric(spec, "train.compile.metrics") for spec in settings.metrics]
    weighted = [_metric(spec, "train.compile.weighted_metrics") for spec in settings.weighted_metrics]
    try:
        network.compile(
            optimizer=optimizer,
            loss=loss,
            metrics=metrics,
            weighted_metrics=weighted,
            loss_weights=settings.loss_weights,
            steps_per_execution=settings.steps_per_execution,
        )
    except (ValueError, TypeError) as error:
        raise NetworkError(f"train.compile: {_first(error)}; correct it") from error
    return bool(getattr(loss, "from_logits", False))


def _metric(spec: Spec, where: str) -> Any:
    # A name stays a name: Keras picks the accuracy that fits the labels.
    metric = _get(keras.metrics, spec, where)
    return spec if isinstance(spec, str) else metric


def _get(module: ModuleType, spec: Spec, where: str) -> Any:
    if not isinstance(spec, str):
        return make(module, spec, where)
    try:
        return module.get(spec)
    except ValueError as error:
        known = [name for name in vars(module) if not name.startswith("_")]
        raise NetworkError(f"{where}: {_unknown(module.__name__.split('.')[-1], spec, known)}") from error


def served(network: keras.Sequential, scaling: Normalizer, shape: tuple[int, ...], *, logits: bool) -> keras.Sequential:
    """Return the network from raw pixels, images of `shape` (height, width[, 3]) uint8, to probabilities."""
    scale, offset = map(_one_or_all, (scaling.scale, scaling.offset))
    layers: list[Any] = [
        keras.Input(shape, dtype="uint8", name="pixels"),
        keras.layers.Reshape((*shape[:2], shape[2] if shape[2:] else 1)),
        keras.layers.Rescaling(scale, offset, name="normalizer"),
    ]
    if scaling.grayscale:
        # After the rescaling is as good as before it: the three weights sum to 1.
        luminance = keras.layers.Dense(1, use_bias=False, trainable=False, name="luminance")
        luminance.build((None, *shape))
        luminance.set_weights([np.array(LUMINANCE, np.float32)[:, None]])
        layers.append(luminance)
    layers += network.layers
    if logits:
        layers.append(keras.layers.Softmax())
    return keras.Sequential(layers, name=f"{network.name}_served")


def _one_or_all(channels: tuple[float, ...]) -> Any:
    return channels[0] if len(channels) == 1 else list(channels)


def summary(network: keras.Sequential) -> str:
    """Return Keras' table of layers, shapes and parameters."""
    lines: list[str] = []
    network.summary(print_fn=lambda line, **_: lines.append(line))
    return "\n".join(lines) + "\n"
