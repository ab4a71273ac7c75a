"""Ingest: read labelled images from their source, make one data set of them, and show what is in it."""

import logging
from pathlib import Path

import numpy as np

from components import dataset, figures, params, sources, stage
from components.dataset import Dataset, Split

log = logging.getLogger(__name__)


def ingest(source: sources.Source, params: params.Ingest) -> Dataset:
    """Return the source's images as a checked data set, with a test split even where the source has none."""
    train, test, class_names = source.train, source.test, source.class_names
    split = Split(train.images, train.labels, train.origins)
    names = train.files
    if test is None:
        rest, part = dataset.stratified(
            split.labels, params.test_fraction, seed=params.seed, what="ingest.test_fraction"
        )
        splits = (split.take(rest), split.take(part))
    else:
        shifted = test.origins + np.array([len(names), 0], np.int32)
        splits = (split, Split(test.images, test.labels, shifted))
        names += test.files
    whole = Dataset(*splits, tuple(params.class_names or class_names), names)
    dataset.check(whole)
    limited = (
        dataset.limited(part, params.limit, seed=params.seed, what=f"ingest.limit of {name}")
        for name, part in whole.splits.items()
    )
    return Dataset(*limited, whole.class_names, whole.files)


def main(path: Path, raw: Path, sheets: Path) -> None:
    """Read the source (from `path`, if it is the one that params name) and write `raw` and two sheets."""
    settings = params.load().ingest
    if settings.source == "path" and Path(settings.path) != path:
        raise params.ParamsError(f"ingest.path: expected {path} as in dvc.yaml, received {settings.path}")
    images = ingest(sources.read(settings), settings)
    figures.write_sheets(images, sheets)
    dataset.save(images, raw)
    for name, split in images.splits.items():
        log.info("%s: %s images of %s, digest %s", name, len(split), split.images.shape[1:], split.digest()[:12])


if __name__ == "__main__":
    stage.run(main)
