"""What all tests share: made images, a project of their own, and the commands that a person would type."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import prefect.main  # noqa: F401 - before TensorFlow: it closes all log handlers, and absl's closes pytest's capture
import pytest
import yaml

from components.dataset import FASHION_MNIST_CLASSES

ROOT = Path(__file__).parent.parent
# Settings of whoever runs the tests, which a new user does not have.
FOREIGN = ("MLFLOW_", "PREFECT_", "DVC_", "PYTHONDONTWRITEBYTECODE")
PROJECT = ("components", "flows", "dvc.yaml", "params.yaml", "pyproject.toml", ".dvcignore", ".gitignore")


def garments(each: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images (10 * each, 28, 28) uint8 and labels: a bright bar whose place tells the class, and noise."""
    rng = np.random.default_rng(seed)
    labels = np.tile(np.arange(10), each)
    images = rng.integers(0, 60, (len(labels), 28, 28), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 * label + 2 : 2 * label + 8, 4:24] = rng.integers(200, 256)
    return images, labels


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write a uint8 array as an IDX file."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def write_source(folder: Path, *, train: int, test: int) -> None:
    """Write a data set of `train` and `test` images a class as four IDX files."""
    for prefix, each, seed in (("train", train, 1), ("t10k", test, 2)):
        images, labels = garments(each, seed=seed)
        write_idx(folder / f"{prefix}-images-idx3-ubyte", images)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", labels)


@dataclass(frozen=True)
class Project:
    """A checkout of its own, with a small data set and a small training, in a temporary folder."""

    folder: Path
    env: Mapping[str, str]

    def run(self, *command: str, timeout: int = 300, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command as a person would in the activated environment, and return what became of it."""
        return subprocess.run(
            command, cwd=self.folder, env={**self.env, **env}, text=True, timeout=timeout, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def ok(self, *command: str, **env: str) -> str:
        """Run a command that must succeed, and return what it printed."""
        done = self.run(*command, **env)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def start(self, *command: str, **env: str) -> subprocess.Popen[str]:
        """Start a command in a process group of its own."""
        return subprocess.Popen(
            command, cwd=self.folder, env={**self.env, **env}, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def set(self, **sections: dict[str, object]) -> None:
        """Change parameters of params.yaml, section by section."""
        path = self.folder / "params.yaml"
        values = yaml.safe_load(path.read_text("utf-8"))
        for section, changes in sections.items():
            values[section] |= changes
        path.write_text(yaml.safe_dump(values, sort_keys=False), "utf-8")

    def lock(self) -> dict[str, object]:
        """Return the stages of dvc.lock."""
        return yaml.safe_load((self.folder / "dvc.lock").read_text("utf-8"))["stages"]

    def copy(self, folder: Path) -> "Project":
        """Return a second project with all that this one has, its caches and registry included."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project(folder, self.env)


def make_project(folder: Path) -> Project:
    """Return a new project in `folder`: this project's code and graph, made data, one epoch."""
    folder.mkdir(parents=True)
    for name in PROJECT:
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copyfile
        copy(source, folder / name)
    beside = str(Path(sys.executable).parent)
    clean = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
    project = Project(folder, {**clean, "PATH": f"{beside}{os.pathsep}{os.environ['PATH']}", "SHELL": "/bin/sh"})
    (folder / "data/source").mkdir(parents=True)
    write_source(folder / "data/source", train=60, test=20)
    project.set(
        ingest={"source": "path", "class_names": list(FASHION_MNIST_CLASSES)},
        validate={"limits": {"default": {"brightness": [0.0, 1.0], "ink": [0.0, 1.0]}}},
        normalize={"validation": 100},
        train={"epochs": 1, "batch_size": 32},
    )
    project.ok("git", "init", "--quiet")
    project.ok("dvc", "init", "--quiet")
    shutil.copyfile(ROOT / ".dvc/config", folder / ".dvc/config")
    commit(project, "begin")
    return project


def commit(project: Project, message: str) -> None:
    """Commit all of the project's files."""
    project.ok("git", "add", "--all")
    who = ("-c", "user.name=tests", "-c", "user.email=tests@localhost")
    project.ok("git", *who, "commit", "--quiet", "--message", message)


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[str]:
    """Yield the address of a real Prefect server, so that not every flow starts one of its own."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        from prefect.settings import PREFECT_API_URL

        yield PREFECT_API_URL.value()
