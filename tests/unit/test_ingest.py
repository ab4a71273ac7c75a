"""Ingest: from a source to one checked data set, whose every image knows where it came from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from components import dataset, ingest, sources
from components.dataset import Dataset
from components.errors import DataError
from components.sources import Part, Source
from tests.unit.conftest import contents, idx_bytes, ingest_settings, noise, small_dataset, split, write_params


def source(train: int = 40, test: int | None = None, *, classes: int = 4) -> Source:
    """Return a source of noise with equally many images a class."""
    parts = [
        Part(split(noise(size, 5, 4, seed=number), np.arange(size) % classes), (f"file-{number}",))
        for number, size in enumerate((train, test))
        if size is not None
    ]
    return Source(parts[0], parts[1] if test else None, tuple("abcdefgh"[:classes]))


def pixels(images: np.ndarray) -> set[bytes]:
    return {image.tobytes() for image in images}


# the test split


def test_test_split_is_set_aside_where_the_source_has_none() -> None:
    whole = source(40)
    made = ingest.ingest(whole, ingest_settings(test_fraction=0.3))
    assert (len(made.train), len(made.test)) == (28, 12)
    assert pixels(made.train.images) | pixels(made.test.images) == pixels(whole.train.split.images)
    assert pixels(made.train.images) & pixels(made.test.images) == set()
    assert np.bincount(made.train.labels).tolist() == [7, 7, 7, 7]
    assert np.bincount(made.test.labels).tolist() == [3, 3, 3, 3]


def test_test_split_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    first, again, other = (
        ingest.ingest(source(40), ingest_settings(test_fraction=0.3, seed=seed)).test.origins for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert first.tolist() != other.tolist()


def test_test_split_of_the_source_is_left_as_it_is() -> None:
    whole = source(40, 12)
    made = ingest.ingest(whole, ingest_settings())
    assert whole.test is not None
    np.testing.assert_array_equal(made.train.images, whole.train.split.images)
    np.testing.assert_array_equal(made.test.images, whole.test.split.images)


def test_too_few_images_for_a_test_split_name_the_parameter() -> None:
    with pytest.raises(DataError, match=r"ingest\.test_fraction: cannot set aside 0\.01 of 40 images"):
        ingest.ingest(source(40), ingest_settings(test_fraction=0.01))


@given(
    counts=st.lists(st.integers(10, 40), min_size=2, max_size=5),
    share=st.floats(0.1, 0.5),
    seed=st.integers(0, 2**32 - 1),
)
def test_stratified_parts_are_disjoint_cover_all_and_keep_every_class(
    counts: list[int], share: float, seed: int
) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    rest, part = dataset.stratified(labels, share, seed=seed, what="a share")
    assert sorted([*rest, *part]) == list(range(len(labels)))
    for index in (rest, part):
        assert index.tolist() == sorted(index)
        kept = np.bincount(labels[index], minlength=len(counts)) / len(index)
        np.testing.assert_allclose(kept, np.array(counts) / sum(counts), atol=1.01 / len(index))


# limit and names


@pytest.mark.parametrize("test", [20, None], ids=["own test part", "split off"])
def test_limit_takes_as_many_of_each_split_and_of_each_class(test: int | None) -> None:
    made = ingest.ingest(source(80, test), ingest_settings(limit=12, test_fraction=0.25))
    assert np.bincount(made.train.labels).tolist() == [3, 3, 3, 3]
    assert np.bincount(made.test.labels).tolist() == [3, 3, 3, 3]


def test_limit_beyond_the_source_takes_all() -> None:
    made = ingest.ingest(source(40, 12), ingest_settings(limit=40))
    assert (len(made.train), len(made.test)) == (40, 12)


def test_limit_below_the_number_of_classes_names_the_parameter_and_the_split() -> None:
    with pytest.raises(DataError, match=r"ingest\.limit of train"):
        ingest.ingest(source(40, 12), ingest_settings(limit=3))


def test_class_names_of_params_replace_those_of_the_source() -> None:
    made = ingest.ingest(source(40, 12), ingest_settings(class_names=["ant", "bee", "cow", "doe", "eel"]))
    assert made.class_names == ("ant", "bee", "cow", "doe", "eel")


def test_fewer_class_names_than_labels_name_the_first_image_beyond(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx_bytes(noise(6, 4, 4)))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.array([0, 1, 0, 1, 2, 2], np.uint8)))
    settings = ingest_settings(source="path", path=str(tmp_path), class_names=["ant", "bee"], test_fraction=0.5)
    with pytest.raises(DataError) as caught:
        ingest.ingest(sources.read(settings), settings)
    assert "train-images-idx3-ubyte[" in str(caught.value)
    assert "expected labels 0 to 1, received 2" in str(caught.value)


@pytest.mark.parametrize(("label", "place"), [(7, 3), (-1, 0)])
@pytest.mark.parametrize("name", ["train", "test"])
def test_label_out_of_range_names_the_image(name: str, label: int, place: int) -> None:
    good = small_dataset(6, 6)
    labels = good.splits[name].labels.copy()
    labels[place] = label
    broken = replace(good, **{name: replace(good.splits[name], labels=labels)})
    with pytest.raises(DataError) as caught:
        dataset.check(broken)
    assert str(caught.value).startswith(f"{name}-file[{place + 100}]: expected labels 0 to 2, received {label}")


def test_splits_of_different_shapes_are_refused() -> None:
    other = small_dataset(6, 6, shape=(8, 9))
    with pytest.raises(DataError, match=r"test-file\[100\]: expected images of shape \(8, 8\).*received \(8, 9\)"):
        dataset.check(replace(small_dataset(6, 6), test=other.test))


# origins


def test_origins_name_the_file_and_the_index_in_it(tmp_path: Path) -> None:
    written: dict[str, np.ndarray] = {}
    for prefix, seed in (("train", 1), ("t10k", 2)):
        written[f"{prefix}-images-idx3-ubyte"] = noise(30, 4, 4, seed=seed)
        (tmp_path / f"{prefix}-images-idx3-ubyte").write_bytes(idx_bytes(written[f"{prefix}-images-idx3-ubyte"]))
        (tmp_path / f"{prefix}-labels-idx1-ubyte").write_bytes(idx_bytes(np.arange(30, dtype=np.uint8) % 3))
    settings = ingest_settings(source="path", path=str(tmp_path), limit=9)
    made = ingest.ingest(sources.read(settings), settings)
    for name, part in made.splits.items():
        for index in range(9):
            file, position = made.origin(name, index).rstrip("]").split("[")
            np.testing.assert_array_equal(part.images[index], written[file][int(position)])


@pytest.mark.parametrize("own", [True, False], ids=["own test part", "split off"])
def test_origins_of_pictures_name_the_picture(tmp_path: Path, own: bool) -> None:
    shade = 0
    for root in ("train", "test") if own else (".",):
        for name in ("cat", "dog"):
            (tmp_path / root / name).mkdir(parents=True)
            for index in range(4):
                shade += 9
                Image.new("L", (4, 4), shade).save(tmp_path / root / name / f"{index}.png")
    settings = ingest_settings(source="path", path=str(tmp_path), image_size=[4, 4], test_fraction=0.5)
    made = ingest.ingest(sources.read(settings), settings)
    named: set[str] = set()
    for name, part in made.splits.items():
        for index, image in enumerate(part.images):
            path = made.origin(name, index).removesuffix("[0]")
            named.add(path)
            with Image.open(path) as picture:
                assert picture.getpixel((0, 0)) == image[0, 0]
            assert Path(path).parent.name == made.class_names[part.labels[index]]
    assert len(named) == len(made.train) + len(made.test) == shade // 9


# identity


def test_digest_does_not_depend_on_the_names_of_files() -> None:
    one = small_dataset(6, 3)
    moved = replace(one.train, origins=one.train.origins[::-1])
    assert replace(one, files=("elsewhere", "else"), train=moved).digest() == one.digest()


@given(data=st.data())
def test_digest_depends_on_every_pixel_label_and_class_name(data: st.DataObject) -> None:
    one = small_dataset(6, 3)
    name = data.draw(st.sampled_from(["train", "test"]))
    images, labels = one.splits[name].images.copy(), one.splits[name].labels.copy()
    class_names = list(one.class_names)
    changed = data.draw(st.sampled_from(["pixel", "label", "class name", "order"]))
    place = data.draw(st.integers(0, len(labels) - 1), label="place")
    if changed == "pixel":
        images[place, data.draw(st.integers(0, 7)), data.draw(st.integers(0, 7))] ^= data.draw(st.integers(1, 255))
    elif changed == "label":
        labels[place] += data.draw(st.integers(1, 2))
    elif changed == "class name":
        class_names[place % 3] += data.draw(st.text(min_size=1))
    else:
        images = np.roll(images, place % 2 + 1, axis=0)
    other = replace(one, class_names=tuple(class_names), **{name: split(images, labels)})
    assert other.digest() != one.digest()


@pytest.mark.parametrize("shape", [(4, 16), (16, 4), (64, 1)])
def test_digest_depends_on_the_shape(shape: tuple[int, int]) -> None:
    one = small_dataset(6, 3)
    reshaped = replace(one.train, images=one.train.images.reshape(6, *shape))
    assert replace(one, train=reshaped).digest() != one.digest()


def test_digest_tells_the_splits_apart() -> None:
    one = small_dataset(6, 6)
    assert Dataset(one.test, one.train, one.class_names, one.files).digest() != one.digest()


# what is written


def test_saved_data_set_loads_equal_and_stays_on_the_disk(tmp_path: Path) -> None:
    one = small_dataset(6, 3, shape=(5, 7, 3))
    dataset.save(one, tmp_path / "raw")
    loaded = dataset.load(tmp_path / "raw")
    assert loaded.digest() == one.digest()
    assert loaded.files == one.files
    assert loaded.origin("test", 2) == "test-file[102]"
    assert isinstance(loaded.train.images, np.memmap)


def test_folder_without_a_data_set_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected the data set that ingest writes.*run ingest"):
        dataset.load(tmp_path)


@pytest.mark.parametrize("kept", [0, 6, 140])
@pytest.mark.parametrize("name", ["train_images.npy", "test_origins.npy", "dataset.json"])
def test_truncated_data_set_says_what_to_run(tmp_path: Path, name: str, kept: int) -> None:
    dataset.save(small_dataset(6, 3), tmp_path)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:kept])
    with pytest.raises(DataError, match="run ingest"):
        dataset.load(tmp_path)


def test_main_writes_the_data_set_and_the_sheets_that_show_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "a.npz", x_train=noise(20, 6, 6), y_train=np.arange(20) % 2)
    write_params(tmp_path, ingest={"source": "path", "path": "a.npz", "test_fraction": 0.2})
    monkeypatch.chdir(tmp_path)
    ingest.main(Path("data/raw"), Path("reports/ingest"))
    loaded = dataset.load(Path("data/raw"))
    assert (len(loaded.train), len(loaded.test)) == (16, 4)
    sheets = contents(tmp_path / "reports/ingest")
    assert sorted(sheets) == ["pixels.png", "samples.png"]
    for name in sheets:
        with Image.open(tmp_path / "reports/ingest" / name) as sheet:
            sheet.verify()


def test_main_leaves_the_old_data_set_if_the_source_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset.save(small_dataset(6, 3), tmp_path / "raw")
    before = contents(tmp_path / "raw")
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 and no more")
    write_params(tmp_path, ingest={"source": "path", "path": "a.npz"})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"a\.npz"):
        ingest.main(Path("raw"), Path("sheets"))
    assert contents(tmp_path / "raw") == before
    assert not (tmp_path / "sheets").exists()
