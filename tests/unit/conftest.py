"""What the unit tests share: small data sets, parameters with changes, and what a folder holds byte for byte."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import yaml

from components import params
from components.dataset import Dataset, Split

hypothesis.settings.register_profile("unit", deadline=None, max_examples=60)
hypothesis.settings.load_profile("unit")

SHIPPED = Path(__file__).parents[2] / "params.yaml"

# Type byte of an IDX file, from the format's description at the MNIST page, not from the code under test.
IDX_CODES = {"uint8": 0x08, "int8": 0x09, "int16": 0x0B, "int32": 0x0C, "float32": 0x0D, "float64": 0x0E}


def idx_bytes(array: np.ndarray) -> bytes:
    """Return the array as the bytes of an IDX file: a big-endian header, and big-endian values."""
    header = bytes([0, 0, IDX_CODES[array.dtype.name], array.ndim])
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + sizes + array.astype(array.dtype.newbyteorder(">")).tobytes()


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    """Return pixels uint8 of which no two images are the same."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def split(images: np.ndarray, labels: np.ndarray, *, file: int = 0, shift: int = 0) -> Split:
    """Return a split whose image `i` came from `file`, index `i + shift`."""
    origins = np.stack([np.full(len(images), file), np.arange(len(images)) + shift], axis=1)
    return Split(images, np.asarray(labels, np.int64), origins.astype(np.int32))


def small_dataset(train: int = 30, test: int = 12, *, classes: int = 3, shape: tuple[int, ...] = (8, 8)) -> Dataset:
    """Return noise in two splits with equally many images a class; image `i` is at `i + 100` of its file."""
    names = ("cat", "dog", "owl", "emu", "fox")[:classes]
    parts = [
        split(noise(size, *shape, seed=number), np.arange(size) % classes, file=number, shift=100)
        for number, size in enumerate((train, test))
    ]
    return Dataset(*parts, class_names=names, files=("train-file", "test-file"))


def shipped(**changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return params.yaml as it is shipped, with changes of values, section by section."""
    values = yaml.safe_load(SHIPPED.read_text("utf-8"))
    return values | {section: values[section] | dict(change) for section, change in changes.items()}


def write_params(folder: Path, **changes: Mapping[str, Any]) -> Path:
    """Write the shipped params.yaml, with changes, to `folder`."""
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(shipped(**changes), sort_keys=False), "utf-8")
    return path


def ingest_settings(**changes: Any) -> params.Ingest:
    """Return the shipped `ingest` section with changes."""
    return params.Ingest.model_validate(shipped(ingest=changes)["ingest"], strict=False)


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file in `folder`, hidden ones included, by its name."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
