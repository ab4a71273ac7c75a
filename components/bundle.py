"""The bundle: the model directory that is evaluated, registered and served, an MLflow pyfunc model."""

import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components import files
from components.dataset import Images
from components.errors import BundleError

# Hold the time of writing, and nothing about the model that the LiteRT file does not.
UNSTABLE = frozenset({"MLmodel", "network.keras"})
TOLERANCE = 1e-5  # of a probability: float32 sums in another order, and no more

Probabilities = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Golden:
    """Images and the probabilities (n, classes) that training recorded for them."""

    images: Images
    probabilities: Probabilities

    def first_of_each_class(self, labels: npt.NDArray[np.int64]) -> "Golden":
        """Return the first two images of every class that `labels` (n,) has."""
        index = np.sort(np.concatenate([np.flatnonzero(labels == label)[:2] for label in np.unique(labels)]))
        return Golden(self.images[index], self.probabilities[index])


@dataclass(frozen=True)
class Contents:
    """What a bundle is made of; `keras` and `litert` are files of one and the same network."""

    keras: Path
    litert: Path
    normalizer: Path
    profile: Path
    class_names: tuple[str, ...]
    golden: Golden
    data_digest: str


def write(contents: Contents, folder: Path) -> None:
    """Write the bundle to `folder`, an empty directory that MLflow then loads and serves as it is."""
    os.environ.setdefault("MLFLOW_UV_AUTO_DETECT", "false")
    from mlflow.models import ModelSignature
    from mlflow.pyfunc import save_model
    from mlflow.types import Schema, TensorSpec
    from mlflow.types.schema import Array, ColSpec, DataType

    # uv's environments have no pip, and nothing here needs one.
    logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)
    logging.getLogger("mlflow.pyfunc").setLevel(logging.WARNING)
    inputs = Schema([TensorSpec(np.dtype(np.uint8), (-1, *contents.golden.images.shape[1:]))])
    outputs = Schema(
        [
            ColSpec(DataType.long, "label"),
            ColSpec(DataType.string, "name"),
            ColSpec(Array(DataType.double), "probabilities"),
        ]
    )
    folder.rmdir()  # MLflow wants to make it itself
    with tempfile.TemporaryDirectory() as scratch:
        save_model(
            folder,
            python_model=str(Path(__file__).with_name("scorer.py")),
            artifacts={path.name: str(path) for path in _gather(contents, Path(scratch))},
            signature=ModelSignature(inputs, outputs),
            input_example=contents.golden.images[:1],
            pip_requirements=[f"{name}=={version(name)}" for name in ("ai-edge-litert", "mlflow", "numpy")],
            metadata={"data_digest": contents.data_digest},
        )


def _gather(contents: Contents, folder: Path) -> list[Path]:
    """Return the bundle's own files, copied to `folder` under the names they have in the bundle."""
    sources = {
        "network.tflite": contents.litert,
        "network.keras": contents.keras,
        "normalizer.json": contents.normalizer,
        "profile.json": contents.profile,
    }
    for name, source in sources.items():
        shutil.copyfile(source, folder / name)
    files.write_json(folder / "class_names.json", contents.class_names)
    np.savez(folder / "golden.npz", images=contents.golden.images, probabilities=contents.golden.probabilities)
    return sorted(folder.iterdir())


def digest(folder: Path) -> str:
    """Return the model's identity: one SHA-256 over the bundle, alike for the same weights, scorer and names."""
    return files.folder_digest(folder, without=UNSTABLE)


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle, which answers as the endpoint does."""

    scorer: Any  # an mlflow.pyfunc.PyFuncModel: imported where it is loaded, for its import takes seconds
    class_names: tuple[str, ...]
    golden: Golden
    data_digest: str

    def probabilities(self, images: Images, *, batch_size: int) -> Probabilities:
        """Return (n, classes) for raw images, by the very function that the endpoint calls."""
        batches = (images[start : start + batch_size] for start in range(0, len(images), batch_size))
        answers = [answer["probabilities"] for batch in batches for answer in self.scorer.predict(np.asarray(batch))]
        return np.array(answers, np.float32)


@contextmanager
def _no_bytecode() -> Generator[None]:
    """Keep Python from writing `__pycache__` into the model directory, which would then be another."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


def load(folder: Path) -> Bundle:
    """Return the bundle in `folder` once it has answered its golden images as training recorded."""
    from mlflow.exceptions import MlflowException
    from mlflow.pyfunc import load_model

    try:
        with _no_bytecode():
            scorer = load_model(str(folder))
        artifacts = folder / "artifacts"
        with np.load(artifacts / "golden.npz") as archive:
            golden = Golden(archive["images"], archive["probabilities"])
        bundle = Bundle(
            scorer=scorer,
            class_names=tuple(json.loads((artifacts / "class_names.json").read_text("utf-8"))),
            golden=golden,
            data_digest=(scorer.metadata.metadata or {})["data_digest"],
        )
    except (MlflowException, FileNotFoundError, ValueError, KeyError) as error:
        raise BundleError(f"{folder}: expected a bundle that loads, received {error}; run train again") from error
    compare(bundle.probabilities(golden.images, batch_size=len(golden.images)), golden.probabilities, str(folder))
    return bundle


def compare(answers: Probabilities, expected: Probabilities, what: str) -> None:
    """Raise BundleError unless the probabilities are the expected ones, within float32's rounding."""
    difference = float(np.abs(answers - expected).max()) if answers.shape == expected.shape else float("inf")
    if not difference <= TOLERANCE:
        raise BundleError(
            f"{what}: expected the probabilities that training recorded within {TOLERANCE:g}, "
            f"received some that differ by {difference:g}; run train again"
        )
