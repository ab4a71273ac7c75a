"""MLflow runs: one a training, live while it lasts, and made up for from the files where it is missing."""

import logging
import os
import subprocess
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components import files
from components.errors import AtelierError, TransientError

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

STORE = Path("mlruns")  # where the embedded store lies
Log = Callable[[Mapping[str, float], int, int], None]


@dataclass(frozen=True)
class Training:
    """What identifies a training and what its run shows from the start; times in ms since 1970."""

    id: str
    name: str
    experiment: str
    started: int
    params: dict[str, str]
    tags: dict[str, str]


def uri() -> str:
    """Return the tracking server's address: MLFLOW_TRACKING_URI, or the embedded SQLite store."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(STORE / 'mlflow.db').absolute()}"


def store_state() -> str | None:
    """Return what changes whenever the embedded store does, or None where a server keeps it."""
    path = Path(uri().removeprefix("sqlite:///"))
    if not (uri().startswith("sqlite:///") and path.exists()):
        return None
    status = path.stat()
    return f"{path} {status.st_ino} {status.st_size} {status.st_mtime_ns}"


@contextmanager
def reaching() -> Generator["MlflowClient"]:
    """Yield a client of the tracking server, and turn what its libraries raise into one line.

    TransientError: it does not answer, after a few tries. AtelierError: it answers, and refuses.
    """
    for name, value in {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
        "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": "5",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    }.items():
        os.environ.setdefault(name, value)
    import mlflow
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    for noisy in ("alembic", "mlflow.store.db.utils", "mlflow.system_metrics"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # one line at the end, not one a retry
    STORE.mkdir(exist_ok=True)
    mlflow.set_tracking_uri(uri())
    try:
        yield mlflow.MlflowClient()
    except (MlflowException, RequestException, SQLAlchemyError) as error:
        if getattr(error, "get_http_status_code", lambda: 500)() in range(400, 500):
            raise AtelierError(f"MLflow at {uri()} refuses: {_short(error)}; see MLFLOW_TRACKING_URI") from error
        raise TransientError(
            f"MLflow at {uri()} does not answer ({_short(_root(error))}); results are on disk and are published by "
            "the next run that reaches it: see MLFLOW_TRACKING_URI"
        ) from error


def _root(error: BaseException) -> BaseException:
    """Return what it all began with: the socket's error, say, and not what three libraries made of it."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return error


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


@contextmanager
def live(training: Training) -> Generator[Log]:
    """Open the training's run and yield a function (metrics, step, time) that shows a metric at once.

    A server that does not answer costs the run its liveness, not the training: that is said once, and
    `publish` makes up for it from the files.
    """
    reachable = True

    def attempt(action: Callable[["MlflowClient"], Any]) -> Any:
        nonlocal reachable
        if reachable:
            try:
                with reaching() as client:
                    return action(client)
            except TransientError as error:
                reachable = False
                log.warning("%s", error)
        return None

    run_id: str | None = attempt(lambda client: _create(client, training))
    monitor = attempt(lambda _: _watch_system(run_id)) if run_id else None

    def show(metrics: Mapping[str, float], step: int, time: int) -> None:
        if run_id is not None:
            known = run_id
            attempt(lambda client: client.log_batch(known, metrics=_metrics(metrics, step, time)))

    status = "FAILED"
    try:
        yield show
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        if monitor is not None:
            monitor.finish()
        if run_id:
            attempt(lambda client: client.set_terminated(run_id, status))


def _watch_system(run_id: str) -> Any:
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(run_id)
    monitor.start()
    return monitor


def _create(client: "MlflowClient", training: Training) -> str:
    experiment = client.get_experiment_by_name(training.experiment)
    if experiment is None:
        embedded = uri().startswith("sqlite:")
        location = (STORE / "artifacts" / training.experiment).absolute().as_uri() if embedded else None
        # Without the tag MLflow's UI takes the experiment for one of language models.
        kind = {"mlflow.experimentKind": "custom_model_development"}
        experiment_id = client.create_experiment(training.experiment, location, tags=kind)
    else:
        experiment_id = experiment.experiment_id
    from mlflow.entities import Param

    tags = training.tags | {"atelier.training": training.id}
    run = client.create_run(experiment_id, start_time=training.started, tags=tags, run_name=training.name)
    client.log_batch(run.info.run_id, params=[Param(key, value) for key, value in training.params.items()])
    return run.info.run_id


def _metrics(metrics: Mapping[str, float], step: int, time: int) -> list[Any]:
    from mlflow.entities import Metric

    return [Metric(key, float(value), time, step) for key, value in metrics.items()]


def publish(client: "MlflowClient", training: Path, evaluation: Path | None = None) -> str:
    """Bring the run of the training whose reports are in `training` up to what is on disk, and return its id.

    What is already there stays; a run that the server does not know is made again from the files.
    """
    known = Training(**files.read_json(training / "run.json"))
    run_id = find(client, known)
    if run_id is None:
        log.warning("MLflow at %s does not know this training's run: made again from %s", uri(), training)
        run_id = _create(client, known)
        client.set_terminated(run_id, "FINISHED", int(training_history(training)["time"].iloc[-1]))
    tags = client.get_run(run_id).data.tags
    for name, folder, log_figures in (
        ("training", training, _publish_history),
        ("evaluation", evaluation, _publish_scores),
    ):
        if folder is None:
            continue
        state = files.folder_digest(folder)
        if tags.get(f"atelier.published.{name}") != state:
            log_figures(client, run_id, folder)
            client.log_artifacts(run_id, str(folder), name)
            client.set_tag(run_id, f"atelier.published.{name}", state)
    return run_id


def publish_if_reachable(training: Path, evaluation: Path | None = None) -> None:
    """Publish now, or leave it to the next run where the server does not answer."""
    try:
        with reaching() as client:
            publish(client, training, evaluation)
    except TransientError as error:
        log.warning("%s", error)


def find(client: "MlflowClient", training: Training) -> str | None:
    """Return the id of the run of a training, if the server knows it."""
    experiment = client.get_experiment_by_name(training.experiment)
    if experiment is None:
        return None
    runs = client.search_runs([experiment.experiment_id], f"tags.`atelier.training` = '{training.id}'", max_results=1)
    return runs[0].info.run_id if runs else None


def training_history(training: Path) -> "pd.DataFrame":
    """Return one row an epoch: epoch (from 1), time (ms since 1970), and every metric."""
    import pandas as pd

    return pd.read_csv(training / "history.csv")


def _publish_history(client: "MlflowClient", run_id: str, training: Path) -> None:
    for row in training_history(training).to_dict("records"):
        step, time = int(row.pop("epoch")), int(row.pop("time"))
        client.log_batch(run_id, metrics=_metrics({str(key): value for key, value in row.items()}, step, time))


def _publish_scores(client: "MlflowClient", run_id: str, evaluation: Path) -> None:
    for name, value in files.read_json(evaluation / "metrics.json").items():
        client.log_metric(run_id, f"test_{name}", value)


def record(training: Training, path: Path) -> None:
    """Write what identifies a training, for `publish`."""
    files.write_json(path, asdict(training))


def provenance() -> dict[str, str]:
    """Return the tags that say where a run comes from: Git commit, its cleanliness, Prefect flow run."""
    commit, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--", ".", ":!dvc.lock")
    tags = {} if commit is None else {"mlflow.source.git.commit": commit, "git.clean": str(not changes).lower()}
    flow_run = os.environ.get("ATELIER_FLOW_RUN")
    return tags | ({"prefect.flow_run": flow_run} if flow_run else {})


def _git(*arguments: str) -> str | None:
    """Return what git prints, or None outside a repository or where it has no commit."""
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)  # noqa: S603, S607 - fixed words
    return done.stdout.strip() if done.returncode == 0 else None
