"""Statistics of single images, and the profile of a whole split that later data is compared with."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from components import files
from components.dataset import Dataset, Images, Split

CHUNK = 4096  # images at a time, so that memory does not grow with the data set


def of_images(dataset: Dataset, *, ink_threshold: int) -> pd.DataFrame:
    """Return one row an image, of both splits.

    Columns: split, index, origin (`file[index]`), label, class_name (empty where the label has none),
    brightness (mean pixel / 255), ink (share of pixels above the threshold), contrast (largest - smallest
    pixel), brightest (largest pixel), copies (other images of the same split with the same pixels), copy_of
    (one of those, or empty), leaks (images of the other split with the same pixels), and leak_of (one of those).
    Images without a label, and labels without an image, are left out: `of_splits` shows that there are some.
    """
    tables = [_of_split(dataset, name, ink_threshold) for name in dataset.splits]
    table = pd.concat(tables, ignore_index=True)
    place = table["split"] + "[" + table["index"].astype(str) + "]"
    here, anywhere = place.groupby([table["split"], table["pixels"]]), place.groupby(table["pixels"])
    copies = here.transform("size") - 1
    copy_of = here.transform("first").where(lambda first: first != place, here.transform("last"))
    leaks = anywhere.transform("size") - copies - 1
    # The rows of one split follow those of the other: of equal images, the ends are in both.
    leak_of = anywhere.transform("first").where(table["split"] != table["split"].iloc[0], anywhere.transform("last"))
    return table.drop(columns="pixels").assign(
        copies=copies, copy_of=copy_of.where(copies > 0, ""), leaks=leaks, leak_of=leak_of.where(leaks > 0, "")
    )


def _of_split(dataset: Dataset, name: str, ink_threshold: int) -> pd.DataFrame:
    split = dataset.splits[name]
    both = slice(min(len(split.images), len(split.labels)))
    split = Split(split.images[both], split.labels[both], split.origins[both])
    names = dict(enumerate(dataset.class_names))
    columns: dict[str, Any] = {
        "split": name,
        "index": np.arange(len(split)),
        "origin": [f"{dataset.files[file]}[{index}]" for file, index in split.origins.tolist()],
        "label": split.labels,
        "class_name": [names.get(label, "") for label in split.labels.tolist()],
    }
    pixels = [_of_pixels(chunk, ink_threshold) for chunk in chunks(split.images)]
    measured = {key: np.concatenate([part[key] for part in pixels]) for key in pixels[0]}
    return pd.DataFrame(columns | measured)


def _of_pixels(images: Images, ink_threshold: int) -> dict[str, npt.NDArray[Any]]:
    flat = images.reshape(len(images), -1)
    return {
        "brightness": flat.mean(axis=1) / 255,
        "ink": (flat > ink_threshold).mean(axis=1),
        "contrast": flat.max(axis=1).astype(np.int64) - flat.min(axis=1),
        "brightest": flat.max(axis=1).astype(np.int64),
        "pixels": np.array([files.digest(row.tobytes()) for row in flat]),
    }


def chunks(images: Images) -> Iterator[Images]:
    """Yield the images, a few thousand at a time, in memory."""
    for start in range(0, len(images), CHUNK):
        yield np.asarray(images[start : start + CHUNK])


def of_splits(dataset: Dataset) -> pd.DataFrame:
    """Return one row a split: split, images, labels, height, width, channels, brightest pixel."""
    return pd.DataFrame(
        {
            "split": name,
            "images": len(split.images),
            "labels": len(split.labels),
            "height": split.images.shape[1],
            "width": split.images.shape[2],
            "channels": (*split.images.shape[3:], 1)[0],
            "brightest": int(split.images.max()),
        }
        for name, split in dataset.splits.items()
    )


def of_classes(dataset: Dataset) -> pd.DataFrame:
    """Return one row a class of a split: split, class_name, images, share (of the split)."""
    return pd.DataFrame(
        {
            "split": name,
            "class_name": class_name,
            "images": int((split.labels == label).sum()),
            "share": float((split.labels == label).mean()),
        }
        for name, split in dataset.splits.items()
        for label, class_name in enumerate(dataset.class_names)
    )


def profile(table: pd.DataFrame) -> dict[str, Any]:
    """Return the reference profile of the training split: for every class its share, and deciles.

    `table` is what `of_images` returns. Deciles (11 numbers, smallest to largest) are of brightness and ink.
    """
    train = table[table["split"] == "train"]
    return {
        "images": len(train),
        "classes": {
            str(name): {
                "share": len(rows) / len(train),
                **{
                    key: np.quantile(rows[key], np.linspace(0, 1, 11)).round(6).tolist()
                    for key in ("brightness", "ink")
                },
            }
            for name, rows in train.groupby("class_name")
        },
    }
