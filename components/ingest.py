"""Ingest: read labelled images from their source, make one data set of them, and show what is in it."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np

from components import dataset, figures, params, sources, stage
from components.dataset import Dataset

log = logging.getLogger(__name__)


def ingest(source: sources.Source, settings: params.Ingest) -> Dataset:
    """Return the source's images as a checked data set, with a test split even where the source has none."""
    train, names = source.train.split, source.train.files
    if source.test is None:
        rest, part = dataset.stratified(
            train.labels, settings.test_fraction, seed=settings.seed, what="ingest.test_fraction"
        )
        train, test = train.take(rest), train.take(part)
    else:
        shift = np.array([len(names), 0], np.int32)  # its files are numbered after the training part's
        test = replace(source.test.split, origins=source.test.split.origins + shift)
        names += source.test.files
    whole = Dataset(train, test, tuple(settings.class_names or source.class_names), names)
    dataset.check(whole)
    few = {
        name: dataset.limited(part, settings.limit, seed=settings.seed, what=f"ingest.limit of {name}")
        for name, part in whole.splits.items()
    }
    return Dataset(**few, class_names=whole.class_names, files=whole.files)


def main(raw: Path, sheets: Path) -> None:
    """Read the source and write `raw`, and two sheets that show what is in it."""
    settings = params.load().ingest
    images = ingest(sources.read(settings), settings)
    figures.write_sheets(images, sheets)
    dataset.save(images, raw)
    for name, split in images.splits.items():
        log.info("%s: %s images of %s, digest %s", name, len(split), split.images.shape[1:], split.digest()[:12])


if __name__ == "__main__":
    stage.run(main)
