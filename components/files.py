"""Files and folders that are either wholly there or not there, and their digests."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def new_folder(path: Path) -> Generator[Path]:
    """Yield an empty folder that takes the place of `path` when the block ends, and vanishes if it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        new = scratch / "new"
        new.mkdir()
        yield new
        replace(new, path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def replace(new: Path, path: Path) -> None:
    """Put the folder `new` in the place of `path`, which is wholly the old one until then, and if that fails."""
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as scratch:
        old = Path(scratch) / "old"
        try:
            if path.exists():
                path.rename(old)
            new.rename(path)
        except BaseException:  # an interruption, too, would take the old folder away with `scratch`
            if old.exists() and not path.exists():
                old.rename(path)
            raise


@contextmanager
def new_file(path: Path) -> Generator[Path]:
    """Yield a name whose content takes the place of `path` when the block ends, and vanishes if it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as scratch:
        new = Path(scratch) / path.name
        yield new
        new.replace(path)


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, the same bytes for the same value."""
    with new_file(path) as new:
        new.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")


def read_json(path: Path) -> Any:
    """Return what `write_json` wrote."""
    return json.loads(path.read_text("utf-8"))


def digest(*parts: bytes | memoryview) -> str:
    """Return the SHA-256 of the parts, one after the other, as 64 hexadecimal digits."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part)
    return total.hexdigest()


def folder_digest(folder: Path, *, without: frozenset[str] = frozenset()) -> str:
    """Return one SHA-256 over the names and contents of all files in `folder`, at any depth, less Python's bytecode."""
    names = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    left_out = without | {"__pycache__"}
    return digest(
        *(
            f"{name.as_posix()} {digest(path.read_bytes())}\n".encode()
            for name, path in sorted(names.items())
            if left_out.isdisjoint(name.parts)
        )
    )
