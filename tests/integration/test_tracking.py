"""MLflow runs and versions, on the embedded store and on a real server, present or not."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from tenacity import retry, stop_after_delay, wait_fixed

from components import files, gate, register, registry, tracking
from components.errors import TransientError

TRAINING = tracking.Training(
    "t1", "slides now", "garments", 1_700_000_000_000, {"train.epochs": "2"}, {"data.digest": "d"}
)
MODEL = "garment-model"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a real `mlflow server`."""
    import socket
    import urllib.request

    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).parent / "mlflow"), "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command += ["--artifacts-destination", f"{folder}/artifacts"]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "log").open("wb") as log:
        import os

        process = subprocess.Popen(command, env=os.environ | quiet, cwd=folder, stdout=log, stderr=log)

    @retry(wait=wait_fixed(0.3), stop=stop_after_delay(90), reraise=True)
    def ready() -> None:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).read()

    try:
        ready()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to an empty folder, whose embedded store is the one in use, and return it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # MLflow sets it wherever it was told an address
    return tmp_path


@pytest.fixture(params=["embedded", "server"])
def store(request: pytest.FixtureRequest, embedded: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Point the tracking at a store: the embedded one of an empty folder, or a server that all tests share."""
    del embedded
    if request.param == "server":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", request.getfixturevalue("server"))
    return tracking.uri()


@pytest.fixture
def unique(request: pytest.FixtureRequest) -> str:
    """Return a name that no other test uses, since the server is shared."""
    return "".join(letter if letter.isalnum() else "-" for letter in request.node.name)


def training_of(name: str) -> tracking.Training:
    return tracking.Training(f"id of {name}", "slides", name, TRAINING.started, TRAINING.params, TRAINING.tags)


def write_reports(folder: Path, training: tracking.Training) -> tuple[Path, Path]:
    """Write what train and evaluate leave of a training, and return both folders."""
    trained, evaluated = folder / "training", folder / "evaluation"
    for made in (trained, evaluated):
        made.mkdir()
    rows = [{"epoch": n, "time": training.started + n * 1000, "loss": 1 / n, "val_loss": 2 / n} for n in (1, 2)]
    pd.DataFrame(rows).to_csv(trained / "history.csv", index=False)
    tracking.record(training, trained / "run.json")
    files.write_json(evaluated / "metrics.json", {"accuracy": 0.5})
    return trained, evaluated


def test_metrics_are_there_while_training_lasts(store: str, unique: str) -> None:
    del store
    training = training_of(unique)
    with tracking.live(training) as show:
        show({"loss": 0.5}, 1, training.started)
        with tracking.reaching() as client:
            run_id = tracking.find(client, training)
            assert run_id is not None
            run = client.get_run(run_id)
        assert run.info.status == "RUNNING"
        assert run.data.metrics["loss"] == 0.5
        assert run.data.params == {"train.epochs": "2"}
    with tracking.reaching() as client:
        assert client.get_run(run_id).info.status == "FINISHED"


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, "KILLED"), (ValueError, "FAILED")])
def test_a_training_that_ends_early_is_not_left_running(
    error: type[BaseException], status: str, embedded: Path
) -> None:
    del embedded
    with pytest.raises(error), tracking.live(TRAINING):
        raise error
    with tracking.reaching() as client:
        run_id = tracking.find(client, TRAINING)
        assert run_id is not None
        assert client.get_run(run_id).info.status == status


def test_publishing_goes_on_in_the_run_of_the_training(store: str, unique: str, tmp_path: Path) -> None:
    del store
    training = training_of(unique)
    trained, evaluated = write_reports(tmp_path, training)
    with tracking.live(training):
        pass
    with tracking.reaching() as client:
        run_id = tracking.publish(client, trained, evaluated)
        assert run_id == tracking.find(client, training)
        assert client.get_run(run_id).data.metrics["test_accuracy"] == 0.5
        assert {item.path for item in client.list_artifacts(run_id)} == {"training", "evaluation"}


def test_a_run_that_the_server_does_not_know_is_made_again_once(store: str, unique: str, tmp_path: Path) -> None:
    del store
    training = training_of(unique)
    trained, evaluated = write_reports(tmp_path, training)
    with tracking.reaching() as client:
        first = tracking.publish(client, trained, evaluated)
        assert first == tracking.publish(client, trained, evaluated)
        run = client.get_run(first)
        history = client.get_metric_history(first, "loss")
    assert (run.info.status, run.info.start_time) == ("FINISHED", training.started)
    assert [(metric.step, metric.value) for metric in history] == [(1, 1.0), (2, 0.5)]
    assert run.data.params == {"train.epochs": "2"}
    assert run.data.tags["data.digest"] == "d"


def test_a_second_evaluation_replaces_the_first(store: str, unique: str, tmp_path: Path) -> None:
    del store
    trained, evaluated = write_reports(tmp_path, training_of(unique))
    with tracking.reaching() as client:
        run_id = tracking.publish(client, trained, evaluated)
        files.write_json(evaluated / "metrics.json", {"accuracy": 0.75})
        assert tracking.publish(client, trained, evaluated) == run_id
        assert client.get_run(run_id).data.metrics["test_accuracy"] == 0.75


def test_a_server_that_does_not_answer_costs_training_nothing_but_its_liveness(
    embedded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    trained, evaluated = write_reports(embedded, TRAINING)
    with tracking.live(TRAINING) as show:
        show({"loss": 0.5}, 1, TRAINING.started)
    tracking.publish_if_reachable(trained, evaluated)
    with pytest.raises(TransientError, match=r"http://127\.0\.0\.1:9 does not answer"), tracking.reaching() as client:
        tracking.publish(client, trained, evaluated)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with tracking.reaching() as client:
        run_id = tracking.publish(client, trained, evaluated)
        assert client.get_run(run_id).data.metrics["test_accuracy"] == 0.5


def candidate(folder: Path, run_id: str, digest: str, accuracy: float) -> registry.Candidate:
    bundle = folder / digest
    bundle.mkdir(exist_ok=True)
    (bundle / "MLmodel").write_text(f"name: {digest}\n", "utf-8")
    tags = {"test.accuracy": str(accuracy), "test.digest": "same test set"}
    return registry.Candidate(bundle, digest, run_id, tags)


def test_registering(store: str, unique: str, tmp_path: Path) -> None:
    """One story, since every step needs the one before: first, again, worse, better."""
    del store
    trained, evaluated = write_reports(tmp_path, training_of(unique))

    def ask(digest: str, accuracy: float):
        with tracking.reaching() as client:
            run_id = tracking.publish(client, trained, evaluated)
            asking = candidate(tmp_path, run_id, digest, accuracy)
            done = register.register(client, unique, asking, gate.Scores(accuracy, "same test set"))
            return done, client.get_registered_model(unique).aliases

    first, aliases = ask("a", 0.8)
    assert (first.version, first.champion, first.verdict.code) == (1, 1, "first")
    assert {name: int(version) for name, version in aliases.items()} == {"champion": 1}

    again, _ = ask("a", 0.8)
    assert again == first, "the same model is one version, however often it asks"

    worse, aliases = ask("b", 0.7)
    assert (worse.version, worse.champion, worse.verdict.promoted) == (2, 1, False)
    assert {name: int(version) for name, version in aliases.items()} == {"champion": 1, "challenger": 2}

    better, aliases = ask("c", 0.9)
    assert (better.version, better.champion, better.verdict.code) == (3, 3, "better")
    assert int(aliases["champion"]) == 3

    late, aliases = ask("a", 0.8)
    assert (late.version, late.champion) == (1, 3), "an old version that asks again does not take its place back"
    assert int(aliases["champion"]) == 3


def test_a_version_carries_run_digest_and_its_files(store: str, unique: str, tmp_path: Path) -> None:
    del store
    trained, evaluated = write_reports(tmp_path, training_of(unique))
    with tracking.reaching() as client:
        run_id = tracking.publish(client, trained, evaluated)
        version = registry.register(client, unique_model(client, unique), candidate(tmp_path, run_id, "x", 0.5))
        assert version.run_id == run_id
        assert version.tags["digest"] == "x"
        import mlflow

        where = mlflow.artifacts.download_artifacts(
            f"models:/{unique}/{version.version}", dst_path=str(tmp_path / "got")
        )
    assert (Path(where) / "MLmodel").read_text("utf-8") == "name: x\n"


def unique_model(client: object, name: str) -> str:
    registry.ensure_model(client, name)
    return name


def test_a_registration_that_ended_between_alias_and_verdict_is_settled_by_the_next(
    embedded: Path,
) -> None:
    trained, evaluated = write_reports(embedded, TRAINING)
    with tracking.reaching() as client:
        run_id = tracking.publish(client, trained, evaluated)
        asking = candidate(embedded, run_id, "a", 0.8)
        version = registry.register(client, unique_model(client, MODEL), asking)
        client.set_registered_model_alias(MODEL, registry.CHAMPION, version.version)
        done = register.register(client, MODEL, asking, gate.Scores(0.8, "same test set"))
        assert (done.version, done.champion, done.verdict.promoted) == (1, 1, True)
        found = registry.find(client, MODEL, "a")
        assert found is not None
        assert registry.settled(found) == done.verdict


def test_store_state_changes_with_the_store_and_only_then(embedded: Path) -> None:
    assert tracking.store_state() is None
    trained, evaluated = write_reports(embedded, TRAINING)
    with tracking.reaching() as client:
        run_id = tracking.publish(client, trained, evaluated)
    before = tracking.store_state()
    with tracking.reaching() as client:
        client.get_run(run_id)
        assert tracking.store_state() == before
        client.set_tag(run_id, "seen", "yes")
        assert tracking.store_state() != before
