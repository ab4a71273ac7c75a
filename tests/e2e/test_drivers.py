"""Both drivers over the whole graph, as a person runs them: shell commands in a project of its own."""

import json
import os
import re
import signal
import socket
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from tenacity import retry, stop_after_delay, wait_fixed

from components import files
from tests.conftest import Project, commit, garments, make_project, write_idx

STAGES = ["ingest", "validate", "normalize", "train", "evaluate", "register"]
UNCHANGED = {name: f"Stage '{name}' didn't change, skipping" for name in STAGES[:-1]}


@pytest.fixture(scope="module")
def by_dvc(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project that `dvc repro` brought up to date from nothing."""
    project = make_project(tmp_path_factory.mktemp("dvc") / "project")
    project.ok("dvc", "repro")
    return project


@pytest.fixture(scope="module")
def by_flow(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, str]:
    """Return a project that the flow brought up to date from nothing, with embedded defaults, and what it printed."""
    project = make_project(tmp_path_factory.mktemp("flow") / "project")
    return project, project.ok("python", "-m", "flows.training")


def runs_of(project: Project) -> list[dict[str, str]]:
    """Return of every MLflow run of the project its id, status and the published parts, newest first."""
    code = (
        "import json, mlflow; c = mlflow.MlflowClient()\n"
        "found = c.search_runs([e.experiment_id for e in c.search_experiments()])\n"
        "print(json.dumps([{'id': r.info.run_id, 'status': r.info.status, **r.data.metrics} for r in found]))"
    )
    env = {"MLFLOW_TRACKING_URI": f"sqlite:///{project.folder}/mlruns/mlflow.db"}
    return json.loads(project.ok("python", "-c", code, **env).strip().splitlines()[-1])


def digests(project: Project) -> dict[str, object]:
    """Return what must be alike for alike data and parameters: stages, commands, parameters, data."""
    lock = project.lock()
    data = {name: out for stage in lock.values() for out in stage["outs"] if (name := out["path"]).startswith("data/")}
    return {"stages": list(lock), "data": data, "commands": [stage["cmd"] for stage in lock.values()]}


def model(project: Project) -> str:
    return str(files.read_json(project.folder / "reports/registration.json")["digest"])


def test_both_drivers_give_the_same_stages_data_and_model(by_dvc: Project, by_flow: tuple[Project, str]) -> None:
    assert list(by_dvc.lock()) == STAGES
    assert digests(by_dvc) == digests(by_flow[0])
    assert model(by_dvc) == model(by_flow[0]), "the same weights to the bit, whoever drives"


def test_the_flow_ends_with_verdict_accuracy_examples_and_what_next(by_flow: tuple[Project, str]) -> None:
    printed = by_flow[1]
    assert "version 1: promoted to champion" in printed
    accuracy = files.read_json(by_flow[0].folder / "reports/evaluation/metrics.json")["accuracy"]
    assert re.search(rf"accuracy +{accuracy:.4f}", printed)
    for index, name in zip(range(100, 105), ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"), strict=True):
        assert re.search(rf"{index} .*{re.escape(name)}", printed)
    for command in ("make ui", "make serve", "dvc exp run"):
        assert command in printed


def test_after_either_driver_the_other_finds_nothing_to_do(by_dvc: Project, by_flow: tuple[Project, str]) -> None:
    printed = by_dvc.ok("atelier", "run")
    for name in UNCHANGED:
        assert f"'{name}' - Finished in state Unchanged" in printed
    printed = by_flow[0].ok("dvc", "repro")
    for line in UNCHANGED.values():
        assert line in printed
    assert "version 1: registered before" in printed
    assert len(runs_of(by_dvc)) == len(runs_of(by_flow[0])) == 1


def test_the_run_is_whole_and_finished(by_dvc: Project) -> None:
    (run,) = runs_of(by_dvc)
    assert run["status"] == "FINISHED"
    assert {"accuracy", "val_accuracy", "loss", "val_loss", "test_accuracy", "test_calibration_error"} <= set(run)


def test_metrics_params_plots_and_dag_are_there_for_dvc(by_dvc: Project) -> None:
    shown = json.loads(by_dvc.ok("dvc", "metrics", "show", "--json"))
    assert "accuracy" in shown[""]["data"]["reports/evaluation/metrics.json"]["data"]
    plots = json.loads(by_dvc.ok("dvc", "plots", "show", "--json"))["data"]
    assert {"Loss", "Accuracy", "Confusion", "Classes", "reports/training/curves.png"} <= set(plots)
    curves = json.dumps(plots["Loss"])
    assert "val_loss" in curves
    assert "Ankle boot" in json.dumps(plots["Confusion"])
    assert all(stage in by_dvc.ok("dvc", "dag") for stage in STAGES)


@pytest.fixture
def endpoint(by_dvc: Project) -> Iterator[str]:
    """Yield the address of the champion behind plain `mlflow models serve`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["mlflow", "models", "serve", "-m", "models:/fashion-mnist-cnn@champion", "--env-manager", "local"]
    env = {"MLFLOW_TRACKING_URI": f"sqlite:///{by_dvc.folder}/mlruns/mlflow.db"}

    @retry(wait=wait_fixed(0.3), stop=stop_after_delay(90), reraise=True)
    def ready() -> None:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5).read()

    with by_dvc.start(*command, "--host", "127.0.0.1", "--port", str(port), **env) as server:
        try:
            ready()
            yield f"http://127.0.0.1:{port}/invocations"
        finally:
            os.killpg(server.pid, signal.SIGKILL)


def test_the_champion_answers_over_http_as_it_was_evaluated(by_dvc: Project, endpoint: str) -> None:
    images = np.load(by_dvc.folder / "data/raw/test_images.npy")[:5]
    with np.load(by_dvc.folder / "reports/evaluation/predictions.npz") as archive:
        expected = archive["probabilities"][:5]
    body = json.dumps({"inputs": images.tolist()}).encode()
    request = urllib.request.Request(endpoint, data=body, headers={"Content-Type": "application/json"})  # noqa: S310
    answers = json.loads(urllib.request.urlopen(request, timeout=30).read())["predictions"]  # noqa: S310 - our own address
    np.testing.assert_allclose([answer["probabilities"] for answer in answers], expected, atol=1e-6)
    assert [answer["name"] for answer in answers] == ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"]


def test_an_experiment_changes_a_parameter_and_can_be_compared(by_dvc: Project, tmp_path: Path) -> None:
    project = by_dvc.copy(tmp_path / "project")
    commit(project, "first run")
    project.ok("dvc", "exp", "run", "--set-param", "train.epochs=2")
    assert json.loads(project.ok("dvc", "params", "diff", "--json")) == {
        "params.yaml": {"train.epochs": {"old": 1, "new": 2, "diff": 1}}
    }
    changed = json.loads(project.ok("dvc", "metrics", "diff", "--json"))["reports/evaluation/metrics.json"]
    assert changed["loss"]["diff"] < 0


def test_unfit_data_stop_both_drivers_and_change_nothing_else(by_dvc: Project, tmp_path: Path) -> None:
    project = by_dvc.copy(tmp_path / "project")
    images, _ = garments(60, seed=1)
    images[17] = 0
    images[33] = garments(20, seed=2)[0][5]
    write_idx(project.folder / "data/source/train-images-idx3-ubyte", images)
    kept = ("data/normalized", "models", "reports/validation", "reports/evaluation", "mlruns")
    before = [files.folder_digest(project.folder / name) for name in kept]
    for command in (("dvc", "repro"), ("atelier", "run")):
        done = project.run(*command)
        assert done.returncode != 0
        assert "blank" in done.stdout
        assert "train[17] (train-images-idx3-ubyte[17])" in done.stdout
        assert "leakage" in done.stdout
        assert "train[33] (train-images-idx3-ubyte[33]" in done.stdout
        assert "Traceback" not in done.stdout
        assert "Running stage 'normalize'" not in done.stdout
    assert [files.folder_digest(project.folder / name) for name in kept] == before
    assert (project.folder / "reports/validation-failed/docs/index.html").exists()


def test_results_wait_on_disk_for_a_tracking_server_that_does_not_answer(by_dvc: Project, tmp_path: Path) -> None:
    project = by_dvc.copy(tmp_path / "project")
    project.set(train={"seed": 1})
    away = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
    done = project.run("dvc", "repro", **away)
    assert done.returncode != 0
    assert "error: register: MLflow at http://127.0.0.1:9 does not answer" in done.stdout
    assert "Traceback" not in done.stdout
    trained = (project.folder / "models/candidate/artifacts/network.tflite").read_bytes()
    before = len(runs_of(project))
    printed = project.ok("dvc", "repro")
    assert UNCHANGED["train"] in printed
    assert (project.folder / "models/candidate/artifacts/network.tflite").read_bytes() == trained
    newest, *older = runs_of(project)
    assert len(older) == before
    assert newest["status"] == "FINISHED"
    assert "test_accuracy" in newest


def until(lines: Iterable[str], said: str) -> None:
    """Read lines until one says so."""
    assert any(said in line for line in lines), f"it ended without saying {said!r}"


def test_ctrl_c_ends_the_flow_and_its_stage_and_the_next_run_just_works(by_dvc: Project, tmp_path: Path) -> None:
    project = by_dvc.copy(tmp_path / "project")
    project.set(train={"epochs": 5000})
    run = ("python", "-m", "flows.training")
    with project.start(*run) as flow:
        assert flow.stdout is not None
        until(flow.stdout, "Epoch 3/")
        with project.start(*run) as second:
            assert second.stdout is not None
            until(second.stdout, "another training holds this workspace")
            for group in (second, flow):
                os.killpg(group.pid, signal.SIGINT)  # as a terminal does: to all processes of the foreground
            for process in (second, flow):
                assert "Traceback" not in process.communicate(timeout=120)[0]
    assert (flow.returncode, second.returncode) == (1, 1)
    assert runs_of(project)[0]["status"] == "KILLED"
    project.set(train={"epochs": 1})
    assert "fashion-mnist-cnn version 1:" in project.ok("dvc", "repro")


def test_a_real_subset_is_learned(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    project.set(
        ingest={"source": "fashion_mnist", "class_names": None, "limit": 3000},
        normalize={"validation": 300},
        train={"epochs": 3, "batch_size": 64},
    )
    printed = project.ok("atelier", "run")
    accuracy = files.read_json(project.folder / "reports/evaluation/metrics.json")["accuracy"]
    assert accuracy > 0.75
    assert "promoted to champion" in printed


def test_a_folder_that_is_no_project_is_told_so(tmp_path: Path, by_dvc: Project) -> None:
    elsewhere = Project(tmp_path, by_dvc.env)
    done = elsewhere.run("python", "-m", "components.ingest", "a", "b", PYTHONPATH=str(by_dvc.folder))
    assert done.returncode == 1
    assert "run from the project's top folder" in done.stdout
    assert "Traceback" not in done.stdout
