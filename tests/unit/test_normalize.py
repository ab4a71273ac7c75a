"""Normalize: the statistics are those of the training part alone, and the numbers are what was asked for."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from components import dataset, normalize, normalizer, params
from components.dataset import Dataset
from components.errors import DataError
from components.normalizer import Normalizer
from tests.unit.conftest import contents, noise, shipped, small_dataset, write_params

BT_601 = (0.299, 0.587, 0.114)  # red, green, blue: ITU-R BT.601-7, 2.5.1

GRAY = npst.arrays(np.uint8, npst.array_shapes(min_dims=3, max_dims=3, max_side=6))
RGB = npst.arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5), st.just(3)))


def settings(**changes: Any) -> params.Normalize:
    return params.Normalize.model_validate(shipped(normalize=changes)["normalize"], strict=False)


def by_channel(images: np.ndarray) -> np.ndarray:
    """Return pixels / 255 as (pixels, channels) float64."""
    return images.reshape(-1, images.shape[3] if images.ndim == 4 else 1) / np.float64(255)


# fit


@given(images=GRAY | RGB)
def test_fit_is_the_mean_and_deviation_of_each_channel(images: np.ndarray) -> None:
    pixels = by_channel(images)
    assume((np.ptp(pixels, axis=0) > 0).all())
    fitted = normalize.fit(images, settings())
    np.testing.assert_allclose(fitted.mean, pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(fitted.deviation, pixels.std(axis=0), rtol=1e-6)
    assert not fitted.grayscale


@given(images=GRAY | RGB)
def test_normalized_images_have_mean_0_and_deviation_1(images: np.ndarray) -> None:
    assume((np.ptp(by_channel(images), axis=0) > 0).all())
    received = normalize.fit(images, settings())(images)
    assert received.dtype == np.float32
    assert received.shape == (*images.shape[:3], images.shape[3] if images.ndim == 4 else 1)
    flat = received.reshape(-1, received.shape[-1]).astype(np.float64)
    np.testing.assert_allclose(flat.mean(axis=0), 0, atol=2e-3)
    np.testing.assert_allclose(flat.std(axis=0), 1, atol=2e-3)


@given(images=GRAY | RGB)
def test_without_standardizing_pixels_are_divided_by_255_and_no_more(images: np.ndarray) -> None:
    received = normalize.fit(images, settings(standardize=False))(images)
    assert received.dtype == np.float32
    np.testing.assert_allclose(received.reshape(images.shape), images / np.float64(255), rtol=2e-7, atol=0)


@given(images=RGB)
def test_grayscale_is_the_luminance_of_bt_601(images: np.ndarray) -> None:
    received = normalize.fit(images, settings(grayscale=True, standardize=False))(images)
    expected = (images / np.float64(255) * BT_601).sum(axis=-1, keepdims=True)
    assert received.shape == (*images.shape[:3], 1)
    np.testing.assert_allclose(received, expected, atol=1e-6)


@given(images=RGB)
def test_grayscale_is_standardized_by_the_statistics_of_the_luminance(images: np.ndarray) -> None:
    luminance = (images / np.float64(255) * BT_601).sum(axis=-1)
    assume(luminance.std() > 1e-3)
    fitted = normalize.fit(images, settings(grayscale=True))
    assert fitted.mean == pytest.approx([luminance.mean()], abs=1e-6)
    assert fitted.deviation == pytest.approx([luminance.std()], abs=1e-6)


def test_fit_over_many_chunks_is_that_over_all(monkeypatch: pytest.MonkeyPatch) -> None:
    images = noise(50, 5, 5)
    monkeypatch.setattr("components.statistics.CHUNK", 7)
    fitted = normalize.fit(images, settings())
    assert fitted.mean == pytest.approx([(images / 255).mean()], rel=1e-12)
    assert fitted.deviation == pytest.approx([(images / 255).std()], rel=1e-9)


def test_grayscale_images_cannot_be_made_grayscale() -> None:
    with pytest.raises(DataError, match=r"normalize\.grayscale: expected images in RGB"):
        normalize.fit(noise(3, 4, 4), settings(grayscale=True))


@pytest.mark.parametrize("grayscale", [False, True])
@given(shade=st.tuples(*[st.integers(0, 255)] * 3), count=st.integers(1, 40))
def test_images_of_one_shade_cannot_be_standardized(grayscale: bool, shade: tuple[int, int, int], count: int) -> None:
    images = np.full((count, 5, 5, 3), shade, np.uint8)
    with pytest.raises(DataError, match="one single shade"):
        normalize.fit(images, settings(grayscale=grayscale))


def test_one_pixel_that_differs_is_enough_to_standardize() -> None:
    images = np.full((100, 28, 28), 254, np.uint8)
    images[50, 3, 3] = 255
    fitted = normalize.fit(images, settings())
    assert fitted.deviation == pytest.approx([(images / 255).std()], rel=1e-3)


@given(
    grayscale=st.booleans(),
    mean=st.lists(st.floats(0, 1), min_size=1, max_size=3),
    deviation=st.floats(1e-3, 1),
)
def test_normalizer_reads_back_equal(
    tmp_path_factory: pytest.TempPathFactory, grayscale: bool, mean: list[float], deviation: float
) -> None:
    path = tmp_path_factory.getbasetemp() / "normalizer.json"
    written = Normalizer(grayscale, tuple(mean), (deviation,) * len(mean))
    normalizer.save(written, path)
    assert normalizer.load(path) == written


# the stage


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder in which the stage runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(one: Dataset, *, digest: str | None = None, **changes: Any) -> Path:
    """Run the stage on a data set that was validated, and return the folder it wrote."""
    write_params(Path(), normalize={"validation": 6} | changes)
    dataset.save(one, Path("raw"))
    Path("validation.json").write_text(json.dumps({"digest": digest or one.digest()}), "utf-8")
    normalize.main(Path("raw"), Path("validation.json"), Path("normalized"))
    return Path("normalized")


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(("validation", "held_out"), [(6, 6), (0.4, 12)])
def test_split_is_stratified_disjoint_and_covers_everything(validation: float, held_out: int) -> None:
    one = small_dataset()
    folder = run(one, validation=validation)
    index = {name: np.load(folder / f"{name}_index.npy") for name in ("train", "validation")}
    assert len(index["validation"]) == held_out
    assert sorted([*index["train"], *index["validation"]]) == list(range(30))
    for name, rows in index.items():
        labels = np.load(folder / f"{name}_labels.npy")
        np.testing.assert_array_equal(labels, one.train.labels[rows])
        assert np.bincount(labels).tolist() == [len(rows) // 3] * 3


@pytest.mark.usefixtures("project")
def test_split_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    first = contents(run(small_dataset(), seed=1))
    assert contents(run(small_dataset(), seed=1)) == first
    assert contents(run(small_dataset(), seed=2))["validation_index.npy"] != first["validation_index.npy"]


@pytest.mark.usefixtures("project")
def test_validation_and_test_pixels_do_not_influence_the_statistics() -> None:
    one = small_dataset()
    first = contents(run(one))
    index = np.load("normalized/validation_index.npy")
    changed = one.train.images.copy()
    changed[index] = 255 - changed[index] // 3
    other = replace(
        one,
        train=replace(one.train, images=changed),
        test=replace(one.test, images=np.zeros_like(one.test.images)),
    )
    second = contents(run(other))
    same = {name for name in first if first[name] == second[name]}
    assert set(first) - same == {"validation_images.npy"}


@pytest.mark.usefixtures("project")
def test_training_pixels_do_influence_the_statistics() -> None:
    one = small_dataset()
    first = contents(run(one))
    images = one.train.images.copy()
    images[np.load("normalized/train_index.npy")[0]] //= 2
    second = contents(run(replace(one, train=replace(one.train, images=images))))
    assert first["normalizer.json"] != second["normalizer.json"]


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 3)], ids=["grayscale", "rgb"])
def test_arrays_are_the_normalized_images_and_open_without_being_read(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("components.statistics.CHUNK", 4)
    one = small_dataset(shape=shape)
    folder = run(one)
    scaling = normalizer.load(folder / "normalizer.json")
    for name in ("train", "validation"):
        images = np.load(folder / f"{name}_images.npy", mmap_mode="r")
        assert isinstance(images, np.memmap)
        assert images.dtype == np.float32
        index = np.load(folder / f"{name}_index.npy")
        pixels = by_channel(one.train.images[index])
        expected = (pixels - scaling.mean) / scaling.deviation
        assert images.shape == (len(index), 8, 8, pixels.shape[1])
        np.testing.assert_allclose(images.reshape(expected.shape), expected, atol=1e-5)
    train = np.load(folder / "train_images.npy")
    assert train.mean() == pytest.approx(0, abs=1e-5)
    assert train.std() == pytest.approx(1, abs=1e-4)


def test_data_that_was_not_validated_is_refused_and_the_old_output_stays(project: Path) -> None:
    run(small_dataset())
    before = contents(project / "normalized")
    with pytest.raises(DataError, match=r"expected the data that was validated.*run validate again"):
        run(small_dataset(33, 12), digest=small_dataset().digest())
    assert contents(project / "normalized") == before


def test_more_images_to_set_aside_than_there_are_name_the_parameter(project: Path) -> None:
    with pytest.raises(DataError, match=r"normalize\.validation: cannot set aside 5000 of 30 images"):
        run(small_dataset(), validation=5000)
    assert not (project / "normalized").exists()
