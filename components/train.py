"""Train: fit the network of params.yaml, live in MLflow, and write the bundle that will be served."""

import json
import logging
import os
import platform
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from components import bundle, dataset, figures, files, normalizer, params, stage, tracking
from components.dataset import Labels
from components.errors import NetworkError, ParamsError

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

PROVED = 500  # images on which the export must answer as Keras does

Inputs = npt.NDArray[np.float32]
OnEpoch = Callable[[Mapping[str, float], int, int], None]


@dataclass(frozen=True)
class Part:
    """Normalized images (n, height, width, channels) and their labels (n,)."""

    images: Inputs
    labels: Labels


def load_part(normalized: Path, name: str) -> Part:
    """Return the `train` or `validation` part that normalize wrote, the images memory-mapped."""
    images = np.load(normalized / f"{name}_images.npy", mmap_mode="r").view(np.ndarray)
    return Part(images, np.load(normalized / f"{name}_labels.npy"))


def prepare(seed: int) -> None:
    """Seed all of Keras' and TensorFlow's randomness and make every operation repeatable."""
    if platform.machine().lower() in ("x86_64", "amd64"):
        # Up to twice as fast where TensorFlow leaves it off by itself; it is read at import.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def targets(labels: Labels, classes: int, *, one_hot: bool) -> npt.NDArray[Any]:
    """Return labels as the loss wants them: (n,), or one-hot (n, classes)."""
    return np.eye(classes, dtype=np.float32)[labels] if one_hot else labels


def class_weights(labels: Labels, classes: int, wanted: str | dict[int, float] | None) -> dict[int, float] | None:
    """Return the weight of each class; `balanced` is n / (classes * n of the class)."""
    if wanted is None:
        return None
    if isinstance(wanted, dict):
        unknown = sorted(set(wanted) - set(range(classes)))
        if unknown:
            raise ParamsError(
                f"train.class_weight: expected classes 0 to {classes - 1}, received {unknown}; remove them"
            )
        return {label: wanted.get(label, 1.0) for label in range(classes)}
    counts = np.bincount(labels, minlength=classes)
    return {label: len(labels) / (classes * int(count)) for label, count in enumerate(counts) if count}


def fit(
    network: "keras.Sequential", train: Part, validation: Part, settings: params.Train, on_epoch: OnEpoch
) -> pd.DataFrame:
    """Train a compiled network in place and return its history, a row an epoch: epoch, time, every metric.

    `on_epoch` gets the metrics of every epoch that ends, its number from 1, and the time in ms since 1970.
    NetworkError says so if the loss did not stay finite.
    """
    import keras

    from components.network import one_hot_wanted

    classes = int(network.outputs[0].shape[-1])
    one_hot = one_hot_wanted(settings.compile.loss)
    rows: list[dict[str, float]] = []

    def epoch_end(epoch: int, logs: Mapping[str, float] | None = None) -> None:
        metrics = {name: float(value) for name, value in (logs or {}).items()}
        now = int(time.time() * 1000)
        rows.append({"epoch": epoch + 1, "time": now, **metrics})
        on_epoch(metrics, epoch + 1, now)

    callbacks: list[keras.callbacks.Callback] = [
        keras.callbacks.LambdaCallback(on_epoch_end=epoch_end),
        keras.callbacks.TerminateOnNaN(),
    ]
    if settings.early_stopping or settings.best_weights:
        stopping = settings.early_stopping or params.EarlyStopping(patience=settings.epochs, min_delta=0)
        callbacks.append(
            keras.callbacks.EarlyStopping(
                "val_loss",
                min_delta=stopping.min_delta,  # pyright: ignore[reportArgumentType] - typed after its default, 0
                patience=stopping.patience,
                restore_best_weights=settings.best_weights,
            )
        )
    network.fit(
        train.images,
        targets(train.labels, classes, one_hot=one_hot),
        batch_size=settings.batch_size,
        epochs=settings.epochs,
        shuffle=settings.shuffle,
        class_weight=class_weights(train.labels, classes, settings.class_weight),
        validation_data=(validation.images, targets(validation.labels, classes, one_hot=one_hot)),
        callbacks=callbacks,
        verbose=1 if sys.stdout.isatty() else 2,  # pyright: ignore[reportArgumentType] - typed after its default, "auto"
    )
    history = pd.DataFrame(rows)
    if not np.isfinite(history["loss"].iloc[-1]):
        raise NetworkError(
            f"train: expected a loss that stays finite, received {history['loss'].iloc[-1]} in epoch {len(history)}; "
            "lower the learning rate of train.compile.optimizer"
        )
    return history


def export(network: "keras.Sequential", folder: Path) -> tuple[Path, Path]:
    """Write the network from raw pixels as Keras and as LiteRT file, and return both paths."""
    network.save(folder / "network.keras")
    network.export(folder / "network.tflite", format="litert", verbose=False)
    return folder / "network.keras", folder / "network.tflite"


def answer(network: "keras.Sequential", inputs: Inputs, *, logits: bool) -> bundle.Probabilities:
    """Return Keras' probabilities (n, classes) for normalized images."""
    import keras

    outputs = np.asarray(network(inputs))
    return np.asarray(keras.ops.softmax(outputs)) if logits else outputs


def report(network: "keras.Sequential", history: pd.DataFrame, folder: Path) -> None:
    """Write history.csv, its curves, and Keras' table of the network."""
    from components.network import summary

    history.to_csv(folder / "history.csv", index=False)
    metrics = history.drop(columns=["epoch", "time"])
    figures.curves({str(name): metrics[name].tolist() for name in metrics}, folder / "curves.png")
    (folder / "network.txt").write_text(summary(network), "utf-8")


def flat(value: Any, name: str = "") -> dict[str, str]:
    """Return nested parameters as MLflow shows them: dotted names and short texts."""
    if isinstance(value, dict):
        parts = [flat(item, f"{name}.{key}" if name else str(key)) for key, item in value.items()]
        return {key: text for part in parts for key, text in part.items()}
    return {name: value if isinstance(value, str) else json.dumps(value)}


def start(settings: params.Params, data_digest: str) -> tracking.Training:
    """Return the identity of a training that begins now."""
    sections = settings.model_dump(mode="json", by_alias=True, include={"ingest", "normalize", "train"})
    layers = json.dumps(settings.networks[settings.train.network])
    return tracking.Training(
        id=uuid.uuid4().hex,
        name=f"{settings.train.network} {time.strftime('%Y-%m-%d %H:%M:%S')}",
        experiment=settings.register_.experiment,
        started=int(time.time() * 1000),
        params=flat(sections) | {"network.layers": layers},
        tags={"data.digest": data_digest} | tracking.provenance(),
    )


def main(raw: Path, profile: Path, normalized: Path, model: Path, reports: Path) -> None:
    """Train on `normalized` and write the bundle `model`, proved on images of `raw`, and the reports."""
    settings = params.load()
    images = dataset.load(raw)
    classes = len(images.class_names)
    train, validation = load_part(normalized, "train"), load_part(normalized, "validation")
    scaling = normalizer.load(normalized / "normalizer.json")
    prepare(settings.train.seed)
    from components import network as networks

    name = settings.train.network
    network = networks.build(settings.networks[name], train.images.shape[1:], classes, name=name)
    logits = networks.compile_network(network, settings.train.compile)
    log.info("%s", networks.summary(network))

    training = start(settings, images.digest())
    with (
        tracking.live(training) as show,
        files.new_folder(reports) as new_reports,
        files.new_folder(model) as new_model,
    ):
        history = fit(network, train, validation, settings.train, show)
        report(network, history, new_reports)
        tracking.record(training, new_reports / "run.json")
        index = np.load(normalized / "validation_index.npy")
        pixels, inputs = images.train.images[index[:PROVED]], validation.images[:PROVED]
        proof = bundle.Golden(pixels, answer(network, inputs, logits=logits))
        with TemporaryDirectory() as scratch:
            served = networks.served(network, scaling, images.train.images.shape[1:], logits=logits)
            keras_file, litert_file = export(served, Path(scratch))
            contents = bundle.Contents(
                keras=keras_file, litert=litert_file, normalizer=normalized / "normalizer.json", profile=profile,
                class_names=images.class_names, golden=proof.first_of_each_class(validation.labels[:PROVED]),
                data_digest=images.digest(),
            )  # fmt: skip
            bundle.write(contents, new_model)
        answers = bundle.load(new_model).probabilities(proof.images, batch_size=PROVED)
        bundle.compare(answers, proof.probabilities, "the exported network")
    log.info("%s holds model %s", model, bundle.digest(model)[:12])
    tracking.publish_if_reachable(reports)


if __name__ == "__main__":
    stage.run(main)
