"""Versions of the registered model, the alias of the one that serves, and what each was made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from components.gate import Scores, Verdict

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, CHALLENGER = "champion", "challenger"


@dataclass(frozen=True)
class Candidate:
    """A bundle that asks to be registered, and the tags that its version will carry."""

    folder: Path
    digest: str
    run_id: str
    tags: Mapping[str, str]


def ensure_model(client: "MlflowClient", name: str) -> None:
    """Make the registered model if there is none of that name."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def find(client: "MlflowClient", name: str, digest: str) -> "ModelVersion | None":
    """Return the version that was made of the bundle with this digest, if there is one."""
    found = client.search_model_versions(f"name = '{name}' and tag.`digest` = '{digest}'")
    return min(found, key=lambda version: int(version.version), default=None)


def register(client: "MlflowClient", name: str, candidate: Candidate) -> "ModelVersion":
    """Return the version of the candidate's bundle, made now unless the registry has it already."""
    from mlflow.entities import LoggedModelOutput

    known = find(client, name, candidate.digest)
    if known is not None:
        return known
    experiment_id = client.get_run(candidate.run_id).info.experiment_id
    logged = client.create_logged_model(experiment_id, name, candidate.run_id, tags={"digest": candidate.digest})
    client.log_model_artifacts(logged.model_id, str(candidate.folder))
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(candidate.run_id, [LoggedModelOutput(logged.model_id, step=0)])
    tags = {**candidate.tags, "digest": candidate.digest}
    return client.create_model_version(
        name, f"models:/{logged.model_id}", candidate.run_id, tags=tags, model_id=logged.model_id
    )


def champion(client: "MlflowClient", name: str) -> "ModelVersion | None":
    """Return the version that serves, if there is one."""
    version = client.get_registered_model(name).aliases.get(CHAMPION)
    return client.get_model_version(name, version) if version else None


def scores(version: "ModelVersion") -> Scores:
    """Return what the gate knows of a version."""
    return Scores(float(version.tags["test.accuracy"]), version.tags["test.digest"])


def settled(version: "ModelVersion") -> Verdict | None:
    """Return the verdict that stands on a version, or None if it was not settled yet."""
    if "verdict.code" not in version.tags:
        return None
    promoted = version.tags["verdict.promoted"] == "true"
    return Verdict(promoted, version.tags["verdict.code"], version.tags["verdict.sentence"])


def settle(client: "MlflowClient", name: str, version: "ModelVersion", verdict: Verdict) -> None:
    """Move the alias as the verdict says, then note the verdict: a version without one is not settled yet."""
    client.set_registered_model_alias(name, CHAMPION if verdict.promoted else CHALLENGER, version.version)
    client.update_model_version(name, version.version, verdict.sentence)
    client.set_model_version_tag(name, version.version, "verdict.promoted", str(verdict.promoted).lower())
    client.set_model_version_tag(name, version.version, "verdict.sentence", verdict.sentence)
    client.set_model_version_tag(name, version.version, "verdict.code", verdict.code)
