"""Labelled images in two splits, as every stage up to the bundle knows them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from components import files
from components.errors import DataError

FASHION_MNIST_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Images (n, height, width) or (n, height, width, 3) uint8, labels (n,), and where each came from.

    `origins` (n, 2) int32 holds for every image the number of its file in `Dataset.files` and its
    index inside that file.
    """

    images: Images
    labels: Labels
    origins: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: npt.NDArray[np.intp]) -> "Split":
        """Return the images at `index`, in that order."""
        return Split(self.images[index], self.labels[index], self.origins[index])

    def digest(self) -> str:
        """Return the SHA-256 of shape, pixels and labels; it does not depend on where they came from."""
        shape = json.dumps(self.images.shape).encode()
        return files.digest(shape, self.images.tobytes(), self.labels.tobytes())


@dataclass(frozen=True)
class Dataset:
    """A training and a test split, the names of the classes in label order, and the files they came from."""

    train: Split
    test: Split
    class_names: tuple[str, ...]
    files: tuple[str, ...]

    @property
    def splits(self) -> Mapping[str, Split]:
        """Return both splits by name."""
        return {"train": self.train, "test": self.test}

    def digest(self) -> str:
        """Return the SHA-256 of both splits and the class names: the data set's identity."""
        return files.digest(
            json.dumps(self.class_names).encode(), self.train.digest().encode(), self.test.digest().encode()
        )

    def origin(self, split: str, index: int) -> str:
        """Return where image `index` of `split` came from, as `file[index]`."""
        file, position = self.splits[split].origins[index]
        return f"{self.files[file]}[{position}]"


def save(dataset: Dataset, folder: Path) -> None:
    """Write the data set to `folder`: one .npy an array, and dataset.json."""
    with files.new_folder(folder) as new:
        for name, split in dataset.splits.items():
            np.save(new / f"{name}_images.npy", split.images)
            np.save(new / f"{name}_labels.npy", split.labels)
            np.save(new / f"{name}_origins.npy", split.origins)
        description = {
            "digest": dataset.digest(),
            "train_digest": dataset.train.digest(),
            "test_digest": dataset.test.digest(),
            "class_names": dataset.class_names,
            "files": dataset.files,
        }
        files.write_json(new / "dataset.json", description)


def load(folder: Path) -> Dataset:
    """Return the data set that `save` wrote, memory-mapped."""
    try:
        description = files.read_json(folder / "dataset.json")
        splits = {
            name: Split(
                *(np.load(folder / f"{name}_{part}.npy", mmap_mode="r") for part in ("images", "labels", "origins"))
            )
            for name in ("train", "test")
        }
    except (FileNotFoundError, EOFError, ValueError) as error:
        raise DataError(f"{folder}: expected the data set that ingest writes, received {error}; run ingest") from error
    return Dataset(**splits, class_names=tuple(description["class_names"]), files=tuple(description["files"]))


def check(dataset: Dataset) -> Dataset:
    """Return the data set if its parts fit together; DataError says which do not."""
    classes = len(dataset.class_names)
    for name, split in dataset.splits.items():
        wrong = np.flatnonzero((split.labels < 0) | (split.labels >= classes))
        if wrong.size:
            raise DataError(
                f"{dataset.origin(name, int(wrong[0]))}: expected labels 0 to {classes - 1}, received "
                f"{split.labels[wrong[0]]} ({wrong.size} such in {name}); correct it, or name more classes"
            )
    shapes = [split.images.shape[1:] for split in dataset.splits.values()]
    if shapes[0] != shapes[1]:
        raise DataError(
            f"{dataset.origin('test', 0)}: expected images of shape {shapes[0]} as in train, "
            f"received {shapes[1]}; bring both to one shape"
        )
    return dataset


def stratified(
    labels: Labels, size: float, *, seed: int, what: str
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the indices (rest, part) of a seeded split that keeps the share of every class, both sorted.

    `size` is a number of images from 1 on, and a share below it. DataError names `what` is too small for it.
    """
    from sklearn.model_selection import train_test_split

    wanted = int(size) if size >= 1 else size
    try:
        rest, part = train_test_split(np.arange(len(labels)), test_size=wanted, stratify=labels, random_state=seed)
    except ValueError as error:
        raise DataError(
            f"{what}: cannot set aside {wanted} of {len(labels)} images ({error}); choose another size"
        ) from error
    return np.sort(rest), np.sort(part)


def limited(split: Split, limit: int | None, *, seed: int, what: str) -> Split:
    """Return at most `limit` images of the split, stratified."""
    if limit is None or limit >= len(split):
        return split
    return split.take(stratified(split.labels, limit, seed=seed, what=what)[1])
