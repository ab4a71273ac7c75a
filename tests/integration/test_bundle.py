"""The bundle: a model directory that answers as training recorded, and says so where it does not."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from components import bundle, evaluate, files, network, normalizer, params, train
from components.errors import BundleError
from tests.conftest import garments

NAMES = tuple(f"class {label}" for label in range(10))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle of the slides' network, untrained but seeded."""
    folder = tmp_path_factory.mktemp("bundle")
    images, labels = garments(3, seed=1)
    scaling = normalizer.Normalizer(False, (0.3,), (0.4,))
    train.prepare(7)
    built = network.build(params.load().networks["slides"], (28, 28, 1), 10, name="slides")
    served = network.served(built, scaling, (28, 28), logits=False)
    keras_file, litert_file = train.export(served, folder)
    normalizer.save(scaling, folder / "normalizer.json")
    files.write_json(folder / "profile.json", {})
    golden = bundle.Golden(images, train.answer(built, scaling(images), logits=False)).first_of_each_class(labels)
    (folder / "model").mkdir()
    contents = bundle.Contents(
        keras=keras_file, litert=litert_file, normalizer=folder / "normalizer.json", profile=folder / "profile.json",
        class_names=NAMES, golden=golden, data_digest="d" * 64,
    )  # fmt: skip
    bundle.write(contents, folder / "model")
    return folder / "model"


@pytest.fixture
def copied(written: Path, tmp_path: Path) -> Path:
    """Return a copy of the bundle that a test may spoil."""
    return shutil.copytree(written, tmp_path / "model")


def test_a_bundle_answers_label_name_and_probabilities(written: Path) -> None:
    loaded = bundle.load(written)
    images, _ = garments(1, seed=5)
    answers = loaded.scorer.predict(images)
    for answer in answers:
        assert set(answer) == {"label", "name", "probabilities"}
        assert answer["name"] == NAMES[answer["label"]]
        assert answer["label"] == int(np.argmax(answer["probabilities"]))
        assert sum(answer["probabilities"]) == pytest.approx(1, abs=1e-5)
    assert loaded.class_names == NAMES
    assert loaded.data_digest == "d" * 64


def test_batches_of_any_size_give_the_same_answers(written: Path) -> None:
    loaded = bundle.load(written)
    images, _ = garments(3, seed=5)
    whole = loaded.probabilities(images, batch_size=30)
    for size in (1, 7, 1000):
        np.testing.assert_allclose(loaded.probabilities(images, batch_size=size), whole, atol=1e-6)


def test_the_signature_refuses_what_is_no_batch_of_images(written: Path) -> None:
    from mlflow.exceptions import MlflowException

    loaded = bundle.load(written)
    for wrong in (np.zeros((28, 28), np.uint8), np.zeros((1, 27, 28), np.uint8), np.zeros((1, 28, 28), np.float64)):
        with pytest.raises(MlflowException):
            loaded.scorer.predict(wrong)


def test_the_scorer_imports_nothing_of_the_project_and_no_tensorflow(copied: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys, mlflow.pyfunc\n"
        f"model = mlflow.pyfunc.load_model({str(copied)!r})\n"
        "unwanted = {'components', 'flows', 'tensorflow', 'keras'}\n"
        "print([name for name in sys.modules if name.split('.')[0] in unwanted])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=copied.parent, text=True, capture_output=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_two_writes_of_one_network_have_one_digest(written: Path, copied: Path) -> None:
    (copied / "MLmodel").write_text((copied / "MLmodel").read_text("utf-8") + "\n", "utf-8")  # another time of writing
    assert bundle.digest(copied) == bundle.digest(written)


def test_loading_and_serving_leave_the_bundle_what_it_was(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    before = bundle.digest(copied)
    bundle.load(copied)
    assert not list(copied.rglob("__pycache__"))
    (copied / "__pycache__").mkdir()  # as `mlflow models serve -m` does, in a process of its own
    (copied / "__pycache__/scorer.pyc").write_bytes(b"any")
    assert bundle.digest(copied) == before


@pytest.mark.parametrize("name", ["network.tflite", "class_names.json", "golden.npz", "normalizer.json"])
def test_another_content_has_another_digest(written: Path, copied: Path, name: str) -> None:
    changed = bytearray((copied / "artifacts" / name).read_bytes())
    changed[-1] ^= 1
    (copied / "artifacts" / name).write_bytes(changed)
    assert bundle.digest(copied) != bundle.digest(written)


def test_a_bundle_that_answers_otherwise_is_refused(copied: Path) -> None:
    with np.load(copied / "artifacts/golden.npz") as archive:
        images, probabilities = archive["images"], archive["probabilities"]
    np.savez(copied / "artifacts/golden.npz", images=images, probabilities=np.roll(probabilities, 1, axis=1))
    with pytest.raises(BundleError, match="expected the probabilities that training recorded"):
        bundle.load(copied)


def test_a_bundle_without_its_golden_images_is_refused(copied: Path) -> None:
    (copied / "artifacts/golden.npz").unlink()
    with pytest.raises(BundleError, match="expected a bundle that loads"):
        bundle.load(copied)


def test_the_keras_file_loads_in_safe_mode_and_answers_alike(written: Path) -> None:
    import keras

    images, _ = garments(1, seed=5)
    loaded = keras.models.load_model(written / "artifacts/network.keras", safe_mode=True)
    np.testing.assert_allclose(
        np.asarray(loaded(images)), bundle.load(written).probabilities(images, batch_size=10), atol=1e-5
    )


def test_golden_images_are_the_first_two_of_every_class() -> None:
    labels = np.array([1, 0, 1, 1, 0, 0])
    golden = bundle.Golden(np.arange(6, dtype=np.uint8), np.arange(6, dtype=np.float32)).first_of_each_class(labels)
    assert golden.images.tolist() == [0, 1, 2, 4]


def test_evaluate_scores_what_the_bundle_answers(written: Path) -> None:
    images, labels = garments(4, seed=9)
    probabilities = bundle.load(written).probabilities(images, batch_size=7)
    scores = evaluate.metrics(labels, probabilities, 0.0)
    assert scores["accuracy"] == (probabilities.argmax(axis=1) == labels).mean()
