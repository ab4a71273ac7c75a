"""Files and folders are wholly there or not there, whatever happens while they are written."""

import errno
import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components import dataset, files
from tests.unit.conftest import contents, small_dataset

DISK_FULL = OSError(errno.ENOSPC, "No space left on device")


def write_old_folder(folder: Path) -> Path:
    path = folder / "out"
    (path / "deep").mkdir(parents=True)
    (path / "deep/old.txt").write_text("old")
    return path


def write_half_a_folder(path: Path, fault: BaseException) -> None:
    with files.new_folder(path) as new:
        (new / "half.txt").write_text("half")
        raise fault


def write_half_a_file(path: Path, fault: BaseException) -> None:
    with files.new_file(path) as new:
        new.write_text("half")
        raise fault


def test_new_folder_is_invisible_until_its_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "a/b/out"
    with files.new_folder(path) as new:
        (new / "file.txt").write_text("new")
        assert not path.exists()
    assert contents(tmp_path) == {"a/b/out/file.txt": b"new"}


def test_new_folder_takes_the_place_of_the_whole_old_one(tmp_path: Path) -> None:
    path = write_old_folder(tmp_path)
    with files.new_folder(path) as new:
        (new / "file.txt").write_text("new")
        assert contents(path) == {"deep/old.txt": b"old"}
    assert contents(tmp_path) == {"out/file.txt": b"new"}


@pytest.mark.parametrize("fault", [DISK_FULL, KeyboardInterrupt(), ValueError("defect")], ids=repr)
def test_new_folder_that_fails_leaves_the_old_one_and_nothing_else(tmp_path: Path, fault: BaseException) -> None:
    path = write_old_folder(tmp_path)
    with pytest.raises(type(fault)):
        write_half_a_folder(path, fault)
    assert contents(tmp_path) == {"out/deep/old.txt": b"old"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("fault", [DISK_FULL, KeyboardInterrupt()], ids=repr)
def test_old_folder_comes_back_if_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    path = write_old_folder(tmp_path)
    rename = Path.rename

    def failing(source: Path, target: Path) -> Path:
        if source.name == "new":
            raise fault
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(type(fault)), files.new_folder(path) as new:
        (new / "file.txt").write_text("new")
    assert contents(tmp_path) == {"out/deep/old.txt": b"old"}


def test_replace_puts_a_folder_where_there_was_none(tmp_path: Path) -> None:
    new = write_old_folder(tmp_path)
    files.replace(new, tmp_path / "elsewhere")
    assert contents(tmp_path) == {"elsewhere/deep/old.txt": b"old"}


def test_new_file_is_invisible_until_its_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "a/file.txt"
    with files.new_file(path) as new:
        new.write_text("new")
        assert not path.exists()
    assert contents(tmp_path) == {"a/file.txt": b"new"}


def test_new_file_that_fails_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(OSError, match="No space"):
        write_half_a_file(path, DISK_FULL)
    assert contents(tmp_path) == {"file.txt": b"old"}
    assert len(list(tmp_path.iterdir())) == 1


def test_full_disk_leaves_no_half_written_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "value.json"
    files.write_json(path, {"old": 1})
    before = contents(tmp_path)

    def half(target: Path, text: str, encoding: str) -> None:
        target.write_bytes(text.encode(encoding)[:4])
        raise DISK_FULL

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(OSError, match="No space"):
        files.write_json(path, {"new": [1, 2, 3]})
    assert contents(tmp_path) == before


@pytest.mark.parametrize("old", [True, False], ids=["over an old data set", "for the first time"])
def test_full_disk_leaves_no_half_written_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: bool) -> None:
    raw = tmp_path / "raw"
    if old:
        dataset.save(small_dataset(6, 3), raw)
    before = contents(tmp_path)
    save = np.save

    def fills_up(path: Path, array: np.ndarray) -> None:
        save(path, array)
        if path.name == "test_images.npy":
            path.write_bytes(path.read_bytes()[:100])
            raise DISK_FULL

    monkeypatch.setattr(np, "save", fills_up)
    with pytest.raises(OSError, match="No space"):
        dataset.save(small_dataset(9, 3), raw)
    assert contents(tmp_path) == before
    assert len(list(tmp_path.iterdir())) == len({name.split("/")[0] for name in before})


def test_json_that_no_other_program_could_read_is_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    files.write_json(path, {"loss": 1.0})
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(path, {"loss": float("nan")})
    assert files.read_json(path) == {"loss": 1.0}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_json_reads_back_equal_and_its_bytes_depend_on_the_value_alone(
    tmp_path_factory: pytest.TempPathFactory, value: object
) -> None:
    folder = tmp_path_factory.getbasetemp()
    files.write_json(folder / "one.json", value)
    files.write_json(folder / "two.json", files.read_json(folder / "one.json"))
    assert files.read_json(folder / "one.json") == value
    assert (folder / "one.json").read_bytes() == (folder / "two.json").read_bytes()


@given(st.lists(st.binary()))
def test_digest_is_the_sha256_of_all_parts_in_a_row(parts: list[bytes]) -> None:
    assert files.digest(*parts) == hashlib.sha256(b"".join(parts)).hexdigest()


def test_folder_digest_changes_with_every_name_and_every_byte(tmp_path: Path) -> None:
    one = write_old_folder(tmp_path)
    seen = {files.folder_digest(one)}
    (one / "deep/old.txt").write_text("olD")
    seen.add(files.folder_digest(one))
    (one / "deep/old.txt").rename(one / "deep/new.txt")
    seen.add(files.folder_digest(one))
    (one / "deep/new.txt").rename(one / "new.txt")
    seen.add(files.folder_digest(one))
    (one / "empty.txt").touch()
    seen.add(files.folder_digest(one))
    assert len(seen) == 5


def test_folder_digest_is_blind_to_place_order_and_named_files(tmp_path: Path) -> None:
    for place, names in {"one": ("a", "b/c"), "two": ("b/c", "a", "skip.me", "b/skip.me")}.items():
        for name in names:
            file = tmp_path / place / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(name)
    digests = {files.folder_digest(tmp_path / place, without=frozenset({"skip.me"})) for place in ("one", "two")}
    assert len(digests) == 1
