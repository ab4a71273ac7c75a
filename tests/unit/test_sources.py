"""Sources: every kind of labelled image is read for what it is, and every broken one is named."""

import gzip
import io
import pickle
import tarfile
import urllib.error
import zipfile
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from components import params, sources
from components.dataset import CIFAR10_CLASSES, FASHION_MNIST_CLASSES
from components.errors import DataError, TransientError
from tests.unit.conftest import IDX_CODES, idx_bytes, ingest_settings, noise

Read = TypeVar("Read")

ARRAYS = st.sampled_from(sorted(IDX_CODES)).flatmap(
    lambda name: npst.arrays(np.dtype(name), npst.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5))
)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file name that property tests may write to, again and again."""
    return tmp_path_factory.mktemp("scratch") / "file"


def refusal(path: Path, settings: params.Ingest | None = None) -> str:
    """Return what is said of a source that is refused: its file, what was expected, and what came."""
    with pytest.raises(DataError) as caught:
        sources.read(settings or ingest_settings(source="path", path=str(path)))
    text = str(caught.value)
    assert "expected" in text
    assert "received" in text
    assert "\n" not in text
    return text


def idx_refusal(path: Path, raw: bytes) -> None:
    path.write_bytes(raw)
    with pytest.raises(DataError) as caught:
        sources.read_idx(path)
    assert str(path) in str(caught.value)
    assert "expected" in str(caught.value)
    assert "received" in str(caught.value)


def read_or_named(path: Path, read: Callable[[Path], Read]) -> Read | None:
    """Return what is read, or None if the file is refused by its name; anything else is a defect."""
    try:
        return read(path)
    except DataError as error:
        said = str(error)
    assert str(path) in said
    return None


def read_path(path: Path, **changes: object) -> sources.Source:
    return sources.read(ingest_settings(source="path", path=str(path), **changes))


# IDX


@given(array=ARRAYS, zipped=st.booleans())
def test_idx_reads_back_equal_gzipped_or_not(scratch: Path, array: np.ndarray, zipped: bool) -> None:
    raw = idx_bytes(array)
    scratch.write_bytes(gzip.compress(raw, 1) if zipped else raw)
    received = sources.read_idx(scratch)
    assert received.dtype == array.dtype
    assert received.dtype.isnative
    np.testing.assert_array_equal(received, array, strict=True)


@given(array=ARRAYS, zipped=st.booleans(), data=st.data())
def test_truncated_idx_names_the_file(scratch: Path, array: np.ndarray, zipped: bool, data: st.DataObject) -> None:
    raw = gzip.compress(idx_bytes(array), 1) if zipped else idx_bytes(array)
    idx_refusal(scratch, raw[: data.draw(st.integers(0, len(raw) - 1), label="bytes kept")])


@given(array=ARRAYS, extra=st.binary(min_size=1, max_size=50), zipped=st.booleans())
def test_extra_bytes_after_idx_name_the_file(scratch: Path, array: np.ndarray, extra: bytes, zipped: bool) -> None:
    raw = idx_bytes(array) + extra
    idx_refusal(scratch, gzip.compress(raw, 1) if zipped else raw)


@given(array=ARRAYS, magic=st.binary(min_size=4, max_size=4))
def test_wrong_magic_number_names_the_file(scratch: Path, array: np.ndarray, magic: bytes) -> None:
    assume(magic[:2] != b"\0\0" or magic[2] not in IDX_CODES.values() or magic[3] == 0)
    idx_refusal(scratch, magic + idx_bytes(array)[4:])


@pytest.mark.parametrize("dimensions", [1, 2, 4, 255])
def test_wrong_number_of_dimensions_names_the_file(tmp_path: Path, dimensions: int) -> None:
    raw = bytearray(idx_bytes(noise(5, 4, 3)))
    raw[3] = dimensions
    idx_refusal(tmp_path / "file", bytes(raw))


def test_dimensions_whose_product_overflows_name_the_file(tmp_path: Path) -> None:
    idx_refusal(tmp_path / "file", bytes([0, 0, 8, 4]) + (2**16).to_bytes(4, "big") * 4)


@given(data=st.data())
def test_gzip_with_a_flipped_byte_never_gives_other_values(scratch: Path, data: st.DataObject) -> None:
    array = noise(5, 6, 6)
    raw = bytearray(gzip.compress(idx_bytes(array), mtime=0))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    scratch.write_bytes(raw)
    received = read_or_named(scratch, sources.read_idx)
    if received is not None:  # the header's time, flags and name mean nothing to the content
        np.testing.assert_array_equal(received, array)


def test_truncated_gzip_names_the_file_and_the_remedy(tmp_path: Path) -> None:
    path = write_idx_folder(tmp_path, noise(10, 4, 4), np.arange(10) % 2) / "train-images-idx3-ubyte"
    path.write_bytes(gzip.compress(idx_bytes(noise(10, 4, 4)))[:-20])
    text = refusal(tmp_path)
    assert str(path) in text
    assert "delete it and fetch it again" in text


# folders of IDX files


def write_idx_folder(folder: Path, images: np.ndarray, labels: np.ndarray, *, prefix: str = "train") -> Path:
    folder.mkdir(exist_ok=True)
    for kind, array in {"images-idx3": images, "labels-idx1": labels}.items():
        content = array if array.dtype.name in IDX_CODES else array.astype(np.uint8)
        (folder / f"{prefix}-{kind}-ubyte").write_bytes(idx_bytes(content))
    return folder


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzipped"])
def test_idx_folder_has_both_splits_numbered_class_names_and_the_names_of_its_files(
    tmp_path: Path, zipped: bool
) -> None:
    images, labels = {"train": noise(9, 5, 4), "t10k": noise(6, 5, 4, seed=1)}, {}
    for prefix, pixels in images.items():
        labels[prefix] = np.arange(len(pixels)) % 3
        write_idx_folder(tmp_path, pixels, labels[prefix], prefix=prefix)
    if zipped:
        for path in list(tmp_path.iterdir()):
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    source = read_path(tmp_path)
    assert source.test is not None
    for part, prefix in ((source.train, "train"), (source.test, "t10k")):
        np.testing.assert_array_equal(part.split.images, images[prefix])
        np.testing.assert_array_equal(part.split.labels, labels[prefix])
        assert part.files == (f"{prefix}-images-idx3-ubyte",)
        assert part.split.origins.tolist() == [[0, index] for index in range(len(labels[prefix]))]
    assert source.class_names == ("0", "1", "2")


def test_idx_folder_without_test_files_has_no_test_part(tmp_path: Path) -> None:
    assert read_path(write_idx_folder(tmp_path, noise(4, 3, 3), np.arange(4))).test is None


def test_idx_images_without_their_labels_name_the_missing_file(tmp_path: Path) -> None:
    write_idx_folder(tmp_path, noise(4, 3, 3), np.arange(4))
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    assert "train-labels-idx" in refusal(tmp_path)


@pytest.mark.parametrize(("images", "labels"), [(5, 4), (4, 5), (0, 0)])
def test_images_and_labels_that_differ_in_number_are_counted(tmp_path: Path, images: int, labels: int) -> None:
    text = refusal(write_idx_folder(tmp_path, noise(images, 3, 3), np.zeros(labels, np.uint8)))
    assert f"received {images} images and {labels} labels" in text
    assert "train-images-idx3-ubyte" in text


@pytest.mark.parametrize(
    ("images", "described"),
    [
        (noise(6, 9), "(6, 9) of uint8"),
        (noise(6), "(6,) of uint8"),
        (noise(6, 4, 4, 2), "(6, 4, 4, 2) of uint8"),
        (noise(6, 4, 4, 4), "(6, 4, 4, 4) of uint8"),
        (noise(6, 4, 4).astype(np.float32), "(6, 4, 4) of float32"),
        (noise(6, 4, 4).astype(np.int8), "(6, 4, 4) of int8"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_arrays_that_are_no_images_are_described(tmp_path: Path, images: np.ndarray, described: str) -> None:
    text = refusal(write_idx_folder(tmp_path, images, np.zeros(6, np.uint8)))
    assert f"received shape {described}" in text
    assert "train-images-idx3-ubyte" in text


@pytest.mark.parametrize(
    ("labels", "described"),
    [(np.zeros((6, 1), np.uint8), "(6, 1) of uint8"), (np.zeros(6, np.float32), "(6,) of float32")],
    ids=["two dimensions", "not whole"],
)
def test_arrays_that_are_no_labels_are_described(tmp_path: Path, labels: np.ndarray, described: str) -> None:
    assert f"received shape {described}" in refusal(write_idx_folder(tmp_path, noise(6, 4, 4), labels))


def test_single_channel_is_read_as_grayscale_and_three_as_rgb(tmp_path: Path) -> None:
    gray = read_path(write_idx_folder(tmp_path / "gray", noise(4, 5, 6, 1), np.zeros(4, np.uint8)))
    rgb = read_path(write_idx_folder(tmp_path / "rgb", noise(4, 5, 6, 3), np.zeros(4, np.uint8)))
    assert gray.train.split.images.shape == (4, 5, 6)
    assert rgb.train.split.images.shape == (4, 5, 6, 3)


def test_labels_like_pixels_are_no_labels(tmp_path: Path) -> None:
    labels = np.full(4, 40_000, np.int32)
    assert "received 40000" in refusal(write_idx_folder(tmp_path, noise(4, 3, 3), labels))


# Fashion-MNIST


def test_real_fashion_mnist_is_the_published_one() -> None:
    source = sources.read(ingest_settings(source="fashion_mnist"))  # it compares SHA-256, and would raise
    assert source.test is not None
    assert source.class_names == FASHION_MNIST_CLASSES
    for part, each in ((source.train, 6_000), (source.test, 1_000)):
        assert part.split.images.shape == (10 * each, 28, 28)
        assert np.bincount(part.split.labels).tolist() == [each] * 10


@pytest.mark.parametrize("altered", sources.FASHION_MNIST_SHA256)
def test_fashion_mnist_of_other_content_names_the_file_and_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, altered: str
) -> None:
    real = sources.fashion_mnist_folder()
    folder = tmp_path / "datasets/fashion-mnist"
    folder.mkdir(parents=True)
    for name in sources.FASHION_MNIST_SHA256:
        (folder / f"{name}.gz").symlink_to(next(iter(real.resolve().glob(f"{name}*"))))
    other = folder / f"{altered}.gz"
    other.unlink()
    other.write_bytes(gzip.compress(idx_bytes(noise(3, 28, 28) if "idx3" in altered else noise(3))))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    text = refusal(folder, ingest_settings(source="fashion_mnist"))
    assert str(other) in text
    assert sources.FASHION_MNIST_SHA256[altered] in text
    assert "delete it and fetch it again" in text


def test_half_a_fashion_mnist_folder_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "datasets/fashion-mnist"
    folder.mkdir(parents=True)
    (folder / "train-images-idx3-ubyte.gz").touch()
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert sources.fashion_mnist_folder() != folder


# Keras' downloads


@pytest.fixture
def keras_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder, empty as on a new machine, that Keras downloads to."""
    from keras.src.utils import file_utils

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(file_utils.config, "keras_home", lambda: str(tmp_path))
    return tmp_path


def test_cifar10_is_decoded_by_keras_from_its_own_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras.src.datasets.cifar10 as module

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    # Keras wants 10,000 images a batch; one image stands for them all, since NumPy repeats it.
    planes = {f"data_batch_{number}": noise(1, 3 * 32 * 32, seed=number) for number in range(1, 6)}
    labels = {name: [number + 2] for number, name in enumerate(planes)}
    planes["test_batch"], labels["test_batch"] = noise(4, 3 * 32 * 32, seed=9), [9, 0, 8, 1]
    for name, data in planes.items():
        batch = {b"batch_label": name.encode(), b"data": data, b"labels": labels[name], b"filenames": [b"x.png"]}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=4))
    monkeypatch.setattr(module, "get_file", lambda **_: str(tmp_path))

    source = sources.read(ingest_settings(source="cifar10"))

    assert source.test is not None
    assert source.class_names == CIFAR10_CLASSES
    assert source.train.split.images.shape == (50_000, 32, 32, 3)
    assert source.train.split.images.dtype == np.uint8
    assert np.bincount(source.train.split.labels).tolist() == [0, 0] + [10_000] * 5
    red_green_blue = planes["data_batch_3"].reshape(3, 32, 32)
    for channel, plane in enumerate(red_green_blue):
        np.testing.assert_array_equal(source.train.split.images[25_000, ..., channel], plane)
    assert source.test.split.labels.tolist() == [9, 0, 8, 1]
    np.testing.assert_array_equal(
        source.test.split.images, planes["test_batch"].reshape(4, 3, 32, 32).transpose(0, 2, 3, 1)
    )
    assert source.train.split.origins[25_000].tolist() == [0, 25_000]


@pytest.mark.parametrize(
    "fault",
    [
        urllib.error.URLError("Name or service not known"),
        urllib.error.HTTPError("https://a.test", 503, "Service Unavailable", Message(), None),
        urllib.error.ContentTooShortError("retrieval incomplete", ("file", Message())),
        ConnectionResetError(104, "Connection reset by peer"),
        TimeoutError("The read operation timed out"),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_download_that_fails_may_be_tried_again(
    keras_home: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    from keras.src.utils import file_utils

    def failing(_url: str, target: str, _progress: object) -> None:
        Path(target).write_bytes(b"half")
        raise fault

    monkeypatch.setattr(file_utils, "urlretrieve", failing)
    with pytest.raises(TransientError) as caught:
        sources.read(ingest_settings(source="cifar10"))
    assert "cifar10" in str(caught.value)
    assert "try again when the network is there" in str(caught.value)
    assert [path for path in keras_home.rglob("*") if path.is_file()] == []


def test_download_of_something_else_may_be_tried_again(keras_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from keras.src.utils import file_utils

    def login_page(_url: str, target: str, _progress: object) -> None:
        Path(target).write_bytes(b"<html>please log in</html>")

    monkeypatch.setattr(file_utils, "urlretrieve", login_page)
    with pytest.raises(TransientError, match="cifar10"):
        sources.read(ingest_settings(source="cifar10"))
    assert keras_home.exists()


def test_fashion_mnist_without_copy_or_network_says_how_to_get_it(
    keras_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from keras.src.utils import file_utils

    def offline(*_: object) -> None:
        raise urllib.error.URLError("Temporary failure in name resolution")

    monkeypatch.setattr(file_utils, "urlretrieve", offline)
    monkeypatch.setattr(sources, "FASHION_MNIST_SHA256", {"a-file-that-no-machine-has": ""})
    with pytest.raises(TransientError) as caught:
        sources.read(ingest_settings(source="fashion_mnist"))
    assert "fashion_mnist" in str(caught.value)
    assert "make data" in str(caught.value)
    assert list(keras_home.rglob("*.gz")) == []


def test_defect_in_the_download_is_not_taken_for_the_network(keras_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras.src.datasets.cifar10 as module

    def defect(**_: object) -> str:
        raise ValueError(f"{keras_home} is not what it should be")

    monkeypatch.setattr(module, "get_file", defect)
    with pytest.raises(ValueError, match="not what it should be"):
        sources.read(ingest_settings(source="cifar10"))


# .npz


def test_npz_has_both_splits(tmp_path: Path) -> None:
    path = tmp_path / "digits.npz"
    arrays = {"x_train": noise(6, 4, 4), "y_train": np.arange(6), "x_test": noise(3, 4, 4), "y_test": np.arange(3)}
    np.savez_compressed(path, **arrays)
    source = read_path(path)
    assert source.test is not None
    np.testing.assert_array_equal(source.train.split.images, arrays["x_train"])
    np.testing.assert_array_equal(source.test.split.labels, arrays["y_test"])
    assert source.class_names == tuple("012345")
    assert source.train.files == ("digits.npz",)


def test_npz_without_test_arrays_has_no_test_part(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=noise(6, 4, 4), y_train=np.arange(6), remark=np.zeros(1))
    assert read_path(tmp_path / "a.npz").test is None


@pytest.mark.parametrize("missing", ["x_train", "y_train"])
def test_npz_without_training_arrays_lists_what_it_has(tmp_path: Path, missing: str) -> None:
    arrays = {"x_train": noise(6, 4, 4), "y_train": np.arange(6)}
    arrays["other"] = arrays.pop(missing)
    np.savez(tmp_path / "a.npz", **arrays)
    text = refusal(tmp_path / "a.npz")
    assert "x_train and y_train" in text
    assert "'other'" in text
    assert "rename them" in text


class Exploit:
    """What a pickle may do to the one who reads it: here, write a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (self.target,))


def test_pickle_in_an_npz_is_refused_and_not_run(tmp_path: Path) -> None:
    hit = tmp_path / "hit"
    bait = np.empty(1, object)
    bait[0] = Exploit(hit)
    np.savez(tmp_path / "a.npz", x_train=bait, y_train=np.arange(1))
    assert str(tmp_path / "a.npz") in refusal(tmp_path / "a.npz")
    assert not hit.exists()


@given(data=st.data(), compressed=st.booleans())
def test_damaged_npz_never_gives_other_values(scratch: Path, data: st.DataObject, compressed: bool) -> None:
    arrays = {"x_train": noise(3, 4, 4), "y_train": np.arange(3)}
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    raw = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 3), label="damaged bytes")):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    scratch.write_bytes(raw[: data.draw(st.integers(0, len(raw)))] if data.draw(st.booleans()) else raw)
    source = read_or_named(scratch, read_path)
    if source is not None:
        np.testing.assert_array_equal(source.train.split.images, arrays["x_train"])
        np.testing.assert_array_equal(source.train.split.labels, arrays["y_train"])


@pytest.mark.parametrize("kind", ["npy", "encrypted", "text", "empty", "tar", "idx"])
def test_file_of_another_kind_is_no_npz(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "data.npz"
    if kind == "npy":
        with path.open("wb") as file:
            np.save(file, noise(3, 4, 4))
    elif kind == "encrypted":
        np.savez(path, x_train=noise(3, 4, 4), y_train=np.arange(3))
        raw = bytearray(path.read_bytes())
        for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            raw[raw.find(signature) + flags] |= 1
        path.write_bytes(raw)
        assert zipfile.is_zipfile(path)
    elif kind == "tar":
        with tarfile.open(path, "w:gz") as archive:
            archive.addfile(tarfile.TarInfo("x_train.npy"))
    else:
        path.write_bytes({"text": b"x_train,y_train\n", "empty": b"", "idx": idx_bytes(noise(3, 4, 4))}[kind])
    text = refusal(path)
    assert str(path) in text
    assert "save it anew" in text


# folders of pictures


def write_picture(path: Path, picture: Image.Image, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **options)
    return path


def plain(size: tuple[int, int], shade: int = 200) -> Image.Image:
    return Image.new("L", size, shade)


def class_folders(folder: Path, *classes: str, each: int = 2) -> Path:
    for number, name in enumerate(classes):
        for index in range(each):
            write_picture(folder / name / f"{index}.png", plain((8, 6), 40 * (number + 1) + index))
    return folder


@pytest.mark.parametrize(("color", "shape"), [("grayscale", (14, 10)), ("rgb", (14, 10, 3))])
@pytest.mark.parametrize("size", [(1, 1), (10, 14), (14, 10), (57, 31), (90, 9), (9, 90)])
@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_picture_of_any_size_is_brought_to_one_size(
    tmp_path: Path, color: str, shape: tuple[int, ...], size: tuple[int, int], kind: str
) -> None:
    path = write_picture(tmp_path / f"a.{kind}", plain(size))
    received = sources.read_picture(path, (14, 10), color)
    assert received.shape == shape
    assert received.dtype == np.uint8
    assert received.max() == 200


@pytest.mark.parametrize(
    ("mode", "color", "gray", "rgb"),
    [
        ("1", 1, 255, (255, 255, 255)),
        ("L", 200, 200, (200, 200, 200)),
        ("LA", (200, 255), 200, (200, 200, 200)),
        ("LA", (200, 128), 100, (100, 100, 100)),
        ("LA", (200, 0), 0, (0, 0, 0)),
        ("RGB", (10, 200, 30), 124, (10, 200, 30)),
        ("RGBA", (200, 100, 50, 255), 124, (200, 100, 50)),
        ("RGBA", (200, 100, 50, 128), 62, (100, 50, 25)),
        ("RGBA", (255, 255, 255, 0), 0, (0, 0, 0)),
        ("I;16", 51_400, 200, (200, 200, 200)),
        ("I;16", 65_535, 255, (255, 255, 255)),
        ("I;16", 255, 0, (0, 0, 0)),
    ],
)
def test_picture_of_any_mode_has_its_colour_and_transparency_is_black(
    tmp_path: Path, mode: str, color: int | tuple[int, ...], gray: int, rgb: tuple[int, ...]
) -> None:
    path = write_picture(tmp_path / "a.png", Image.new(mode, (6, 4), color))
    with Image.open(path) as written:
        assert written.mode == mode
    assert np.unique(sources.read_picture(path, (4, 6), "grayscale")).tolist() == [gray]
    assert np.unique(sources.read_picture(path, (4, 6), "rgb").reshape(-1, 3), axis=0).tolist() == [list(rgb)]


def test_transparent_colour_of_a_palette_is_black_and_the_others_stay(tmp_path: Path) -> None:
    picture = Image.new("P", (4, 2), 0)
    picture.putpalette([250, 250, 250, 200, 10, 30])
    picture.paste(1, (2, 0, 4, 2))
    path = write_picture(tmp_path / "a.png", picture, transparency=0)
    received = sources.read_picture(path, (2, 4), "rgb")
    assert received[0].tolist() == [[0, 0, 0], [0, 0, 0], [200, 10, 30], [200, 10, 30]]


@pytest.mark.parametrize(("mode", "clear"), [("RGB", (250, 250, 250)), ("L", 250)])
def test_transparent_colour_without_alpha_is_black(tmp_path: Path, mode: str, clear: int | tuple[int, ...]) -> None:
    picture = Image.new(mode, (4, 2), clear)
    picture.paste(Image.new(mode, (2, 2), "gray"), (2, 0))
    path = write_picture(tmp_path / "a.png", picture, transparency=clear)
    assert sources.read_picture(path, (2, 4), "grayscale")[0].tolist() == [0, 0, 128, 128]


def test_cmyk_jpeg_has_its_colour(tmp_path: Path) -> None:
    path = write_picture(tmp_path / "a.jpg", Image.new("CMYK", (16, 16), (10, 20, 30, 40)), quality=100)
    received = sources.read_picture(path, (16, 16), "rgb").reshape(-1, 3)
    expected = [(255 - ink) * (255 - 40) / 255 for ink in (10, 20, 30)]
    np.testing.assert_allclose(received, np.tile(expected, (256, 1)), atol=2)


@pytest.mark.parametrize("kind", ["png", "jpg"])
@pytest.mark.parametrize(
    ("orientation", "bright"),
    [(1, np.s_[:, :8]), (3, np.s_[:, 8:]), (6, np.s_[:8, :]), (8, np.s_[8:, :])],
    ids=["upright", "head over", "to the right", "to the left"],
)
def test_turned_picture_is_set_upright(
    tmp_path: Path, kind: str, orientation: int, bright: tuple[slice, slice]
) -> None:
    picture = Image.new("L", (16, 16), 0)
    picture.paste(255, (0, 0, 8, 16))  # as the sensor saw it: bright at the left
    exif = Image.Exif()
    exif[274] = orientation
    path = write_picture(tmp_path / f"a.{kind}", picture, exif=exif)
    expected = np.zeros((16, 16))
    expected[bright] = 255
    np.testing.assert_allclose(sources.read_picture(path, (16, 16), "grayscale"), expected, atol=5)


@pytest.mark.parametrize(
    ("size", "filled"),
    [((40, 20), np.s_[7:21, :]), ((20, 40), np.s_[:, 7:21]), ((4, 2), np.s_[7:21, :]), ((5, 5), np.s_[:, :])],
    ids=["wide", "high", "small", "square"],
)
def test_proportions_are_kept_and_the_rest_is_black(
    tmp_path: Path, size: tuple[int, int], filled: tuple[slice, slice]
) -> None:
    expected = np.zeros((28, 28), np.uint8)
    expected[filled] = 200
    path = write_picture(tmp_path / "a.png", plain(size))
    np.testing.assert_array_equal(sources.read_picture(path, (28, 28), "grayscale"), expected)


def test_text_by_the_name_of_a_picture_is_named(tmp_path: Path) -> None:
    class_folders(tmp_path, "cat", "dog")
    (tmp_path / "dog/notes.png").write_text("remember the milk")
    text = refusal(tmp_path)
    assert str(tmp_path / "dog/notes.png") in text
    assert "replace or remove it" in text


@pytest.mark.parametrize("kind", ["png", "jpg"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_truncated_picture_is_named(tmp_path: Path, kind: str, share: float) -> None:
    path = write_picture(class_folders(tmp_path, "cat") / f"cat/z.{kind}", Image.fromarray(noise(64, 64)))
    raw = path.read_bytes()
    path.write_bytes(raw[: int(share * len(raw))])
    text = refusal(tmp_path)
    assert str(path) in text
    assert "replace or remove it" in text


@pytest.mark.filterwarnings("ignore::UserWarning")  # that a description is damaged, and skipped
@given(data=st.data())
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_damaged_picture_is_read_or_named(scratch: Path, kind: str, data: st.DataObject) -> None:
    exif = Image.Exif()
    exif[274], exif[270] = 6, "a description"
    buffer = io.BytesIO()
    Image.fromarray(noise(9, 7, 3)).save(buffer, kind, exif=exif)
    raw = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 4), label="damaged bytes")):
        raw[data.draw(st.integers(0, min(len(raw), 400) - 1))] = data.draw(st.integers(0, 255))
    scratch.write_bytes(raw)
    picture = read_or_named(scratch, lambda path: sources.read_picture(path, (5, 6), "rgb"))
    assert picture is None or picture.shape == (5, 6, 3)


def test_jpeg_with_a_damaged_description_is_named(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274], exif[270] = 6, "a description"
    path = write_picture(class_folders(tmp_path, "cat") / "cat/z.jpg", plain((8, 8)), exif=exif)
    # The text becomes tag 256, the picture's width, which is no text: Pillow cannot write it when it turns the picture.
    path.write_bytes(path.read_bytes().replace(bytes.fromhex("010e 0002"), bytes.fromhex("0100 0002")))
    assert str(path) in refusal(tmp_path)


def test_decompression_bomb_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_picture(class_folders(tmp_path, "cat") / "cat/z.png", plain((30, 30)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    text = refusal(tmp_path)
    assert str(path) in text
    assert "bomb" in text


def test_class_folders_without_splits_are_one_training_part(tmp_path: Path) -> None:
    class_folders(tmp_path, "dog", "cat")
    (tmp_path / "readme.txt").write_text("not a class")
    source = read_path(tmp_path, image_size=[6, 8])
    assert source.test is None
    assert source.class_names == ("cat", "dog")
    assert source.train.split.labels.tolist() == [0, 0, 1, 1]
    assert source.train.split.images[:, 0, 0].tolist() == [80, 81, 40, 41]
    assert [Path(file).relative_to(tmp_path).as_posix() for file in source.train.files] == [
        "cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png",
    ]  # fmt: skip
    assert source.train.split.origins.tolist() == [[0, 0], [1, 0], [2, 0], [3, 0]]


def test_class_folders_in_train_and_test_are_two_parts(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", "cat", "dog", each=3)
    class_folders(tmp_path / "test", "cat", "dog", each=1)
    source = read_path(tmp_path, color="rgb", image_size=[5, 7])
    assert source.test is not None
    assert source.train.split.images.shape == (6, 5, 7, 3)
    assert source.test.split.images.shape == (2, 5, 7, 3)
    assert source.test.split.labels.tolist() == [0, 1]
    assert [Path(file).relative_to(tmp_path).as_posix() for file in source.test.files] == [
        "test/cat/0.png", "test/dog/0.png",
    ]  # fmt: skip


def test_class_names_set_the_order_of_the_labels(tmp_path: Path) -> None:
    source = read_path(class_folders(tmp_path, "cat", "dog", each=1), class_names=["dog", "cat"])
    assert source.class_names == ("dog", "cat")
    assert "dog" in source.train.files[0]
    assert source.train.split.labels.tolist() == [0, 1]


def test_pictures_are_found_whatever_the_case_of_their_ending(tmp_path: Path) -> None:
    for name in ("a.PNG", "b.JPG", "c.Jpeg", "d.png"):
        write_picture(tmp_path / "cat" / name, plain((4, 4)))
    assert len(read_path(tmp_path).train.files) == 4


def test_what_is_no_picture_in_a_class_folder_is_named_and_not_skipped(tmp_path: Path) -> None:
    class_folders(tmp_path, "dog", "cat")
    (tmp_path / "dog" / "notes.txt").write_text("seen at noon")
    text = refusal(tmp_path)
    assert "dog/notes.txt" in text
    assert "expected PNG and JPEG pictures" in text


def test_what_systems_hide_in_folders_is_no_class_and_no_picture(tmp_path: Path) -> None:
    class_folders(tmp_path, "dog", "cat")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / "dog" / ".DS_Store").write_bytes(b"x")
    assert read_path(tmp_path, image_size=[6, 8]).class_names == ("cat", "dog")


def test_a_named_class_without_a_folder_is_missed(tmp_path: Path) -> None:
    class_folders(tmp_path, "dog", "cat")
    text = refusal(tmp_path, ingest_settings(source="path", path=str(tmp_path), class_names=["cat", "dog", "owl"]))
    assert "received no owl" in text


@pytest.mark.parametrize("stray", ["train/owl", "test/owl"])
def test_stray_class_folder_is_named(tmp_path: Path, stray: str) -> None:
    for name in ("train", "test"):
        class_folders(tmp_path / name, "cat", "dog")
    (tmp_path / stray).mkdir()
    assert "owl" in refusal(tmp_path, ingest_settings(source="path", path=str(tmp_path), class_names=["cat", "dog"]))


def test_class_folder_that_only_the_test_part_has_is_named(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", "cat", "dog")
    class_folders(tmp_path / "test", "cat", "dog", "owl")
    assert "received also owl" in refusal(tmp_path)


def test_test_folder_without_train_folder_is_incomplete(tmp_path: Path) -> None:
    class_folders(tmp_path / "test", "cat")
    with pytest.raises(DataError, match=r"expected a folder `train` beside `test`"):
        read_path(tmp_path)


@pytest.mark.parametrize("made", [(), ("cat", "dog")], ids=["nothing at all", "empty classes"])
def test_empty_folder_asks_for_pictures(tmp_path: Path, made: tuple[str, ...]) -> None:
    for name in made:
        (tmp_path / name).mkdir()
    text = refusal(tmp_path)
    assert str(tmp_path) in text
    assert "received none" in text


def test_path_of_nothing_is_named(tmp_path: Path) -> None:
    text = refusal(tmp_path / "nowhere")
    assert "nowhere" in text
    assert "correct ingest.path" in text
