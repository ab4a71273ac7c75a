"""The normalizer: what turns raw pixels into the network's input, the same in training and in serving."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from components import files
from components.dataset import Images

# Luminance of red, green and blue: Recommendation ITU-R BT.601-7, 2.5.1. The three sum to 1.
LUMINANCE = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Normalizer:
    """`(pixels / 255 - mean) / deviation` channel by channel, of the luminance where `grayscale` says so.

    `mean` and `deviation` (channels out) are those of the training part in 0..1, or 0 and 1.
    """

    grayscale: bool
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @property
    def scale(self) -> tuple[float, ...]:
        """Return what a pixel 0..255 is multiplied with, channel by channel."""
        return tuple(1 / (255 * deviation) for deviation in self.deviation)

    @property
    def offset(self) -> tuple[float, ...]:
        """Return what is added after that."""
        return tuple(-mean / deviation for mean, deviation in zip(self.mean, self.deviation, strict=True))

    def __call__(self, images: Images) -> npt.NDArray[np.float32]:
        """Return images (n, height, width[, 3]) uint8 as (n, height, width, channels out) float32."""
        return channels(images, grayscale=self.grayscale) * np.array(self.scale, np.float32) + np.array(
            self.offset, np.float32
        )


def channels(images: Images, *, grayscale: bool) -> npt.NDArray[np.float32]:
    """Return images with an axis of channels, or with their luminance as the only one, still 0..255."""
    values = images.reshape(*images.shape[:3], -1).astype(np.float32)
    return values @ np.array(LUMINANCE, np.float32)[:, None] if grayscale else values


def save(normalizer: Normalizer, path: Path) -> None:
    """Write the normalizer as JSON."""
    files.write_json(path, asdict(normalizer))


def load(path: Path) -> Normalizer:
    """Return the normalizer that `save` wrote."""
    value = files.read_json(path)
    return Normalizer(value["grayscale"], tuple(value["mean"]), tuple(value["deviation"]))
