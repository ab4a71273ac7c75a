"""Normalize: set aside the validation part, and bring pixels to the numbers that the network sees."""

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt

from components import dataset, files, normalizer, params, stage
from components.dataset import Images
from components.errors import DataError
from components.normalizer import Normalizer, channels
from components.statistics import chunks

log = logging.getLogger(__name__)

ROUNDING = 1e-6  # a deviation below it is what rounding makes of one single shade


def fit(images: Images, settings: params.Normalize) -> Normalizer:
    """Return the normalizer of the images (n, height, width[, 3]): to 0..1, and to mean 0 and deviation 1.

    Mean and standard deviation are those of each channel over all pixels of `images`, exactly.
    """
    if settings.grayscale and images.shape[3:] != (3,):
        raise DataError("normalize.grayscale: expected images in RGB, received grayscale ones; set it to false")
    count = np.zeros((1 if settings.grayscale else (*images.shape[3:], 1)[0],))
    total, squares = count.copy(), count.copy()
    for chunk in chunks(images):
        values = channels(chunk, grayscale=settings.grayscale).astype(np.float64) / 255
        total += values.sum(axis=(0, 1, 2))
        squares += np.square(values).sum(axis=(0, 1, 2))
        count += values[..., 0].size
    mean, deviation = total / count, np.sqrt(np.maximum(squares / count - (total / count) ** 2, 0))
    if not settings.standardize:
        return Normalizer(settings.grayscale, (0.0,) * len(mean), (1.0,) * len(mean))
    if deviation.min() < ROUNDING:
        raise DataError("expected pixels that differ, received images of one single shade; look at data/raw")
    return Normalizer(settings.grayscale, tuple(mean.tolist()), tuple(deviation.tolist()))


def write(images: Images, scaling: Normalizer, path: Path) -> None:
    """Write the normalized images (n, height, width, channels) float32 to `path`, a few thousand at a time."""
    shape = (len(images), *scaling(images[:1]).shape[1:])
    out: npt.NDArray[np.float32] = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    start = 0
    for chunk in chunks(images):
        out[start : start + len(chunk)] = scaling(chunk)
        start += len(chunk)
    out.flush()


def main(raw: Path, validation: Path, normalized: Path) -> None:
    """Write the training and validation parts of `raw`, which must be what `validation` let pass."""
    settings = params.load().normalize
    images = dataset.load(raw)
    validated = files.read_json(validation)["digest"]
    if validated != images.digest():
        raise DataError(f"{raw}: expected the data that was validated, received other images; run validate again")
    train, held_out = dataset.stratified(
        images.train.labels, settings.validation, seed=settings.seed, what="normalize.validation"
    )
    with files.new_folder(normalized) as new:
        scaling = fit(images.train.images[train], settings)
        for name, index in {"train": train, "validation": held_out}.items():
            part = images.train.take(index)
            write(part.images, scaling, new / f"{name}_images.npy")
            np.save(new / f"{name}_labels.npy", part.labels)
            np.save(new / f"{name}_index.npy", index)
            log.info("%s: %s images", name, len(part))
        normalizer.save(scaling, new / "normalizer.json")
    log.info("pixels in 0..1 less %s, over %s", scaling.mean, scaling.deviation)


if __name__ == "__main__":
    stage.run(main)
