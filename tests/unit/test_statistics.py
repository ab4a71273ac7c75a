"""Statistics: what is said of an image is what a person would compute by hand."""

import numpy as np
import pandas as pd
import pytest

from components import statistics
from components.dataset import Dataset
from tests.unit.conftest import noise, small_dataset, split

BLACK = np.zeros((2, 2), np.uint8)
WHITE = np.full((2, 2), 255, np.uint8)
MIXED = np.array([[0, 16], [17, 255]], np.uint8)  # 288 in sum; two of four above 16


def dataset_of(train: list[np.ndarray], test: list[np.ndarray]) -> Dataset:
    """Return a data set of these images, of class `cat` and `dog` in turns."""
    parts = [
        split(np.stack(images), np.arange(len(images)) % 2, file=number, shift=10)
        for number, images in enumerate((train, test))
    ]
    return Dataset(parts[0], parts[1], ("cat", "dog"), ("train-file", "test-file"))


def of_images(train: list[np.ndarray], test: list[np.ndarray]) -> pd.DataFrame:
    table = statistics.of_images(dataset_of(train, test), ink_threshold=16)
    return table.set_index(table["split"] + "[" + table["index"].astype(str) + "]")


@pytest.mark.parametrize(
    ("image", "brightness", "ink", "contrast", "brightest"),
    [
        (BLACK, 0.0, 0.0, 0, 0),
        (WHITE, 1.0, 1.0, 0, 255),
        (MIXED, 288 / 4 / 255, 0.5, 255, 255),
        (np.array([[16, 16], [16, 17]], np.uint8), 65 / 4 / 255, 0.25, 1, 17),
        (np.array([[100, 110], [120, 130]], np.uint8), 460 / 4 / 255, 1.0, 30, 130),
        (np.array([[[255, 0, 0], [0, 0, 30]]], np.uint8), 285 / 6 / 255, 2 / 6, 255, 255),
    ],
    ids=["black", "white", "mixed", "around the threshold", "gray", "rgb"],
)
def test_statistics_of_an_image_are_those_of_its_pixels(
    image: np.ndarray, brightness: float, ink: float, contrast: int, brightest: int
) -> None:
    row = of_images([image], [image]).loc["train[0]"]
    assert row["brightness"] == pytest.approx(brightness, abs=1e-12)
    assert row["ink"] == pytest.approx(ink, abs=1e-12)
    assert (row["contrast"], row["brightest"]) == (contrast, brightest)


def test_every_image_has_a_row_with_its_place_origin_and_class() -> None:
    table = of_images([BLACK, WHITE, MIXED], [MIXED, WHITE])
    assert table.index.tolist() == ["train[0]", "train[1]", "train[2]", "test[0]", "test[1]"]
    assert table["origin"].tolist() == [
        "train-file[10]", "train-file[11]", "train-file[12]", "test-file[10]", "test-file[11]",
    ]  # fmt: skip
    assert table["class_name"].tolist() == ["cat", "dog", "cat", "cat", "dog"]


def test_rows_beyond_one_chunk_are_still_those_of_their_images(monkeypatch: pytest.MonkeyPatch) -> None:
    images = noise(11, 3, 3)
    whole = of_images(list(images), list(images[:2]))
    monkeypatch.setattr(statistics, "CHUNK", 4)
    pd.testing.assert_frame_equal(of_images(list(images), list(images[:2])), whole)
    assert whole["brightness"].tolist()[:11] == pytest.approx((images.reshape(11, -1).mean(axis=1) / 255).tolist())


def test_label_without_a_class_has_an_empty_name() -> None:
    one = small_dataset(3, 3)
    one.train.labels[:] = [0, 3, -1]
    table = statistics.of_images(one, ink_threshold=16)
    assert table["class_name"].tolist()[:3] == ["cat", "", ""]


def twins(train: list[np.ndarray], test: list[np.ndarray]) -> dict[str, tuple[int, str, int, str]]:
    table = of_images(train, test)
    return {
        str(place): (row["copies"], row["copy_of"], row["leaks"], row["leak_of"])
        for place, row in table.iterrows()
        if row["copies"] or row["leaks"] or row["copy_of"] or row["leak_of"]
    }


def test_images_that_differ_have_no_twins() -> None:
    assert twins(list(noise(9, 3, 3)), list(noise(5, 3, 3, seed=1))) == {}


def test_one_pixel_less_is_no_twin() -> None:
    near = WHITE.copy()
    near[1, 1] = 254
    assert twins([WHITE, near], [BLACK]) == {}


def test_duplicates_inside_a_split_name_each_other() -> None:
    a, b, c, d = noise(4, 3, 3)
    assert twins([a, b, a, c], [d]) == {"train[0]": (1, "train[2]", 0, ""), "train[2]": (1, "train[0]", 0, "")}
    assert twins([a, b], [c, d, d]) == {"test[1]": (1, "test[2]", 0, ""), "test[2]": (1, "test[1]", 0, "")}


def test_duplicates_across_splits_name_each_other() -> None:
    a, b, c, d = noise(4, 3, 3)
    assert twins([a, b, c], [d, b]) == {"train[1]": (0, "", 1, "test[1]"), "test[1]": (0, "", 1, "train[1]")}


def test_image_that_is_twice_here_and_once_there_has_a_twin_of_each_kind() -> None:
    a, b, c = noise(3, 3, 3)
    assert twins([a, b, a], [c, a]) == {
        "train[0]": (1, "train[2]", 1, "test[1]"),
        "train[2]": (1, "train[0]", 1, "test[1]"),
        "test[1]": (0, "", 2, "train[0]"),
    }


def test_three_of_a_kind_are_all_found_and_none_is_its_own_twin() -> None:
    found = twins([WHITE, WHITE, WHITE], [BLACK])
    assert [copies for copies, *_ in found.values()] == [2, 2, 2]
    assert all(twin not in ("", place) for place, (_, twin, *_) in found.items())


def test_table_of_splits_counts_and_measures_them() -> None:
    images = np.zeros((3, 4, 5), np.uint8)
    images[1, 2, 3] = 77
    table = statistics.of_splits(dataset_of(list(images), list(noise(2, 6, 7, 3))))
    assert table.to_dict("records")[0] == {
        "split": "train", "images": 3, "labels": 3, "height": 4, "width": 5, "channels": 1, "brightest": 77,
    }  # fmt: skip
    assert table.loc[1, ["split", "height", "width", "channels"]].tolist() == ["test", 6, 7, 3]


def test_table_of_classes_has_the_share_of_each_in_each_split_even_of_none() -> None:
    table = statistics.of_classes(dataset_of(list(noise(3, 2, 2)), list(noise(1, 2, 2))))
    assert table["images"].tolist() == [2, 1, 1, 0]
    assert table["share"].tolist() == pytest.approx([2 / 3, 1 / 3, 1, 0])


def test_profile_is_of_the_training_split_alone() -> None:
    table = statistics.of_images(dataset_of([BLACK, MIXED, WHITE, MIXED], [WHITE] * 6), ink_threshold=16)
    made = statistics.profile(table)
    assert made["images"] == 4
    assert {name: of["share"] for name, of in made["classes"].items()} == {"cat": 0.5, "dog": 0.5}
    assert made["classes"]["cat"]["brightness"] == pytest.approx(np.linspace(0, 1, 11).tolist(), abs=1e-6)
    assert made["classes"]["dog"]["ink"] == [0.5] * 11
