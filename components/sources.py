"""Where labelled images come from: Keras' data sets, IDX files, .npz, or folders of pictures."""

import gzip
import http.client
import logging
import math
import os
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from numpy.lib.npyio import NpzFile

from components import files
from components.dataset import CIFAR10_CLASSES, FASHION_MNIST_CLASSES, Images, Labels, Split
from components.errors import DataError, TransientError
from components.params import Ingest

log = logging.getLogger(__name__)

# SHA-256 of the decompressed IDX files, since every mirror compresses them anew.
FASHION_MNIST_SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
IDX_PREFIXES = {"train": "train", "test": "t10k"}
IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
NPZ_KEYS = {"train": ("x_train", "y_train"), "test": ("x_test", "y_test")}
MAX_CLASSES = 1000  # without names, labels beyond it are taken for something else
PICTURES = frozenset({".png", ".jpg", ".jpeg"})


@dataclass(frozen=True)
class Part:
    """Labelled images of one split, and the files that they came from."""

    split: Split
    files: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """What a source has: a training part, a test part if it has its own, and the names of its classes."""

    train: Part
    test: Part | None
    class_names: tuple[str, ...]


def read(params: Ingest) -> Source:
    """Return all labelled images of the source that params name."""
    if params.source == "fashion_mnist":
        return _idx_folder(fashion_mnist_folder(), FASHION_MNIST_CLASSES, FASHION_MNIST_SHA256)
    if params.source == "cifar10":
        return _cifar10()
    path = Path(params.path)
    if path.is_file():
        return _npz(path)
    if any(_idx_file(path, "train-images-idx", optional=True)):
        return _idx_folder(path, None, {})
    return _class_folders(path, params)


def fashion_mnist_folder() -> Path:
    """Return the folder that holds Fashion-MNIST's IDX files: a local copy, else Keras' download.

    TransientError says so where there is neither.
    """
    keras_home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    downloaded = keras_home / "datasets" / "fashion-mnist"
    debian = Path("usr/share/datasets/fashion-mnist")
    for folder in (downloaded, ".cache" / debian, "/" / debian):
        if all(any(folder.glob(f"{name}*")) for name in FASHION_MNIST_SHA256):
            log.info("Fashion-MNIST: %s", folder)
            return folder
    _download("fashion_mnist", remedy="run `make data`, which knows Debian's package of it")
    return downloaded


def _cifar10() -> Source:
    """Return CIFAR-10 from Keras' download, (50,000 + 10,000, 32, 32, 3)."""
    train, test = _download("cifar10", remedy="try again when the network is there")
    parts = [
        _part(f"cifar10-{name}", images, labels.reshape(-1))
        for name, (images, labels) in {"train": train, "test": test}.items()
    ]
    return Source(parts[0], parts[1], CIFAR10_CLASSES)


def _download(name: str, *, remedy: str) -> tuple[tuple[Images, Labels], tuple[Images, Labels]]:
    import keras

    log.info("downloading %s with keras.datasets", name)
    try:
        return getattr(keras.datasets, name).load_data()
    except Exception as error:
        # Keras raises a bare Exception where a URL cannot be fetched, a ValueError where half a file came, and
        # lets through what breaks off: nothing but the sentence tells the first two apart from a defect.
        broken_off = isinstance(error, (ConnectionError, TimeoutError, http.client.HTTPException))
        if not broken_off and not str(error).startswith(("URL fetch failure", "Incomplete or corrupted file")):
            raise
        raise TransientError(f"{name}: expected Keras' download, received {error}; {remedy}") from error


def read_idx(path: Path) -> npt.NDArray[np.generic]:
    """Return the array in an IDX file, gzipped or not, in the machine's byte order.

    The format is the one of the MNIST data set: two zero bytes, a type, the number of dimensions, the
    dimensions as big-endian 32-bit integers, the values. DataError says what is wrong with the file.
    """
    return _decode_idx(path, _decompressed(path))


def _decompressed(path: Path) -> bytes:
    raw = path.read_bytes()
    if raw[:2] != b"\x1f\x8b":
        return raw
    try:
        return gzip.decompress(raw)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path}: expected a whole gzip file, received one that breaks off or is damaged "
            f"after {len(raw)} bytes ({error}); delete it and fetch it again"
        ) from error


def _decode_idx(path: Path, raw: bytes) -> npt.NDArray[np.generic]:
    dimensions = raw[3] if len(raw) > 3 else 0  # noqa: PLR2004 - the fourth byte of the header
    header = 4 + 4 * dimensions
    if raw[:2] != b"\0\0" or len(raw) < header or raw[2] not in IDX_TYPES or not dimensions:
        raise DataError(
            f"{path}: expected an IDX file, which begins 00 00, type, dimensions, "
            f"received {raw[:4].hex(' ') or 'nothing'}; is it another kind of file?"
        )
    shape = tuple(int(size) for size in np.frombuffer(raw, ">u4", dimensions, 4))
    dtype = np.dtype(IDX_TYPES[raw[2]])
    expected = header + math.prod(shape) * dtype.itemsize
    if len(raw) != expected:
        raise DataError(
            f"{path}: expected {expected} bytes for {'x'.join(map(str, shape))} values, "
            f"received {len(raw)}; fetch it again"
        )
    return np.frombuffer(raw, dtype, offset=header).reshape(shape).astype(dtype.newbyteorder("="))


def _idx_file(folder: Path, prefix: str, *, optional: bool = False) -> list[Path]:
    found = sorted(file for file in folder.glob(f"{prefix}*") if file.is_file())
    if not found and not optional:
        raise DataError(f"{folder}: expected a file {prefix}*-ubyte, gzipped or not, received none; put it there")
    return found


def _idx_folder(folder: Path, class_names: tuple[str, ...] | None, sha256: dict[str, str]) -> Source:
    parts: dict[str, Part] = {}
    for split, prefix in IDX_PREFIXES.items():
        if split == "test" and not any(_idx_file(folder, f"{prefix}-images-idx", optional=True)):
            break
        arrays: list[npt.NDArray[np.generic]] = []
        for kind in ("images", "labels"):
            path = _idx_file(folder, f"{prefix}-{kind}-idx")[0]
            raw = _decompressed(path)
            expected = sha256.get(path.name.removesuffix(".gz"))
            arrays.append(_decode_idx(path, raw))
            if expected not in (None, files.digest(raw)):
                raise DataError(
                    f"{path}: expected content of SHA-256 {expected}, received {files.digest(raw)}; "
                    "it is not the published file: delete it and fetch it again"
                )
        parts[split] = _part(str(_idx_file(folder, f"{prefix}-images-idx")[0]), arrays[0], arrays[1])
    return _source(parts, class_names)


def _npz(path: Path) -> Source:
    """Return the arrays x_train, y_train and, if there, x_test, y_test: the names of Keras' own archives."""
    try:
        with path.open("rb") as file, NpzFile(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, PermissionError):
            raise
        raise DataError(f"{path}: expected an .npz archive of plain arrays, received {error}; save it anew") from error
    missing = [key for key in NPZ_KEYS["train"] if key not in arrays]
    if missing:
        raise DataError(f"{path}: expected the arrays x_train and y_train, received {sorted(arrays)}; rename them")
    parts = {
        split: _part(str(path), arrays[images], arrays[labels])
        for split, (images, labels) in NPZ_KEYS.items()
        if images in arrays and labels in arrays
    }
    return _source(parts, None)


def _class_folders(folder: Path, params: Ingest) -> Source:
    """Return the pictures of `folder/CLASS/`, or of `folder/train/CLASS/` and `folder/test/CLASS/`."""
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a file or folder with images, received nothing; correct ingest.path")
    roots = {split: folder / split for split in NPZ_KEYS if (folder / split).is_dir()} or {"train": folder}
    if "train" not in roots:
        raise DataError(f"{folder}: expected a folder `train` beside `test`; add it")
    found = {split: {entry.name for entry in _visible(root) if entry.is_dir()} for split, root in roots.items()}
    names = tuple(params.class_names or sorted(found["train"]))
    strays, missing = set[str]().union(*found.values()) - set(names), set(names) - found["train"]
    if not names or strays or missing:
        received = "; ".join(
            f"{what} {', '.join(sorted(which))}" for what, which in (("also", strays), ("no", missing)) if which
        )
        raise DataError(
            f"{folder}: expected a folder with pictures for each class ({', '.join(names) or 'any names'}), "
            f"received {received or 'none'}; see ingest.path and ingest.class_names"
        )
    parts = {split: _pictures(root, names, params) for split, root in roots.items()}
    return Source(parts["train"], parts.get("test"), names)


def _visible(folder: Path) -> list[Path]:
    """Return what is in a folder, in order, without what systems hide there (.DS_Store); nothing if it is missing."""
    return sorted(entry for entry in folder.glob("*") if not entry.name.startswith("."))


def _pictures(root: Path, names: tuple[str, ...], params: Ingest) -> Part:
    from rich.progress import track

    labelled = [(entry, label) for label, name in enumerate(names) for entry in _visible(root / name)]
    strays = [entry for entry, _ in labelled if entry.is_dir() or entry.suffix.lower() not in PICTURES]
    if strays:
        raise DataError(
            f"{strays[0]}: expected PNG and JPEG pictures and nothing else in a class folder, received "
            f"{len(strays)} other entries; move them elsewhere"
        )
    if not labelled:
        raise DataError(f"{root}: expected PNG or JPEG pictures in the class folders, received none; put some there")
    channels = () if params.color == "grayscale" else (3,)
    images = np.empty((len(labelled), *params.image_size, *channels), np.uint8)
    for index, (picture, _) in enumerate(track(labelled, description=f"reading {root}", transient=True)):
        images[index] = read_picture(picture, params.image_size, params.color)
    origins = np.stack([np.arange(len(labelled)), np.zeros(len(labelled))], axis=1).astype(np.int32)
    labels = np.array([label for _, label in labelled], np.int64)
    return Part(Split(images, labels, origins), tuple(str(picture) for picture, _ in labelled))


def read_picture(path: Path, size: tuple[int, int], color: str) -> Images:
    """Return a picture of any size and mode as (height, width) or (height, width, 3) uint8.

    It is turned upright, laid on black where it is transparent, and fitted into `size` (height, width)
    with its proportions kept. DataError names the file if it is no picture, or absurdly large.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            picture.load()
            upright = ImageOps.exif_transpose(picture)
    except (
        UnidentifiedImageError,
        Image.DecompressionBombError,
        OSError,
        SyntaxError,
        ValueError,
        struct.error,
    ) as error:
        if isinstance(error, (PermissionError, FileNotFoundError)):
            raise
        raise DataError(f"{path}: expected a PNG or JPEG picture, received {error}; replace or remove it") from error
    if upright.mode.startswith("I"):  # 16 bits: Pillow would clip them to 8, not scale them
        upright = Image.fromarray((np.asarray(upright, np.uint32) >> 8).clip(0, 255).astype(np.uint8))
    if upright.has_transparency_data:
        layer = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", layer.size, "black"), layer)
    mode = "L" if color == "grayscale" else "RGB"
    return np.asarray(ImageOps.pad(upright.convert(mode), (size[1], size[0]), color="black"), np.uint8)


def _part(origin: str, images: npt.NDArray[np.generic], labels: npt.NDArray[np.generic]) -> Part:
    """Return arrays as a Part if they are images and labels; DataError says what they are instead."""
    if images.dtype != np.uint8 or images.ndim < 3 or images.shape[3:] not in ((), (1,), (3,)):  # noqa: PLR2004
        raise DataError(
            f"{origin}: expected uint8 images (n, height, width) or (n, height, width, 3), "
            f"received shape {images.shape} of {images.dtype}; convert them"
        )
    if labels.ndim != 1 or labels.dtype.kind not in "ui":
        raise DataError(
            f"{origin}: expected labels (n,) of whole numbers, received shape {labels.shape} of {labels.dtype}; "
            "convert them"
        )
    if len(images) != len(labels) or not len(images):
        raise DataError(
            f"{origin}: expected one label for each image, received {len(images)} images and {len(labels)} labels; "
            "fetch both files again"
        )
    pixels = images[..., 0] if images.shape[3:] == (1,) else images
    origins = np.stack([np.zeros(len(labels)), np.arange(len(labels))], axis=1).astype(np.int32)
    split = Split(np.asarray(pixels, np.uint8), labels.astype(np.int64), origins)
    return Part(split, (Path(origin).name.removesuffix(".gz"),))


def _source(parts: dict[str, Part], class_names: tuple[str, ...] | None) -> Source:
    top = max(int(part.split.labels.max()) for part in parts.values())
    if class_names is None and top >= MAX_CLASSES:
        raise DataError(f"labels: expected 0 to {MAX_CLASSES - 1}, received {top}; are these labels?")
    return Source(parts["train"], parts.get("test"), class_names or tuple(str(label) for label in range(top + 1)))
