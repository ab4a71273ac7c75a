"""Register: make the bundle a version of the registered model, and champion if the gate lets it."""

import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from components import bundle, files, gate, params, registry, report, stage, tracking
from components.errors import BundleError

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

STAMP = Path(".cache/registration.json")  # what was registered last, and the state of the store after it
LINEAGE = (
    "mlflow.source.git.commit",
    "git.clean",
    "prefect.flow_run",
)  # tags that a version has from its run


def register(
    client: "MlflowClient", name: str, candidate: registry.Candidate, scores: gate.Scores
) -> report.Registration:
    """Return the version of the candidate, made, judged and given its alias now unless that was done before."""
    registry.ensure_model(client, name)
    version = registry.register(client, name, candidate)
    champion = registry.champion(client, name)
    verdict = registry.settled(version)
    if verdict is None:
        own = champion is not None and champion.version == version.version  # ended between alias and verdict
        verdict = gate.judge(scores, None if champion is None or own else registry.scores(champion))
        registry.settle(client, name, version, verdict)
        champion = registry.champion(client, name)
    serving = None if champion is None else int(champion.version)
    return report.Registration(name, int(version.version), serving, candidate.run_id, candidate.digest, verdict)


def main(model: Path, training: Path, evaluation: Path, registration: Path, summary: Path) -> None:
    """Register `model`, and write the verdict to `registration` and the whole run's report to `summary`."""
    name, digest = params.load().register_.model_name, bundle.digest(model)
    evaluated = files.read_json(evaluation / "evaluation.json")
    if evaluated["model_digest"] != digest:
        raise BundleError(f"{model}: expected the model that was evaluated, received another; run evaluate again")
    scores = gate.Scores(files.read_json(evaluation / "metrics.json")["accuracy"], evaluated["test_digest"])
    inputs = _inputs(model, training, evaluation, name)
    if registration.exists() and summary.exists() and _unchanged(inputs):
        known = files.read_json(registration)
        log.info("%s version %s: registered before, and the registry is as it was", name, known["version"])
        return
    with tracking.reaching() as client:
        run_id = tracking.publish(client, training, evaluation)
        tags = client.get_run(run_id).data.tags
        own = {
            "data.digest": evaluated["data_digest"],
            "test.digest": scores.test_digest,
            "test.accuracy": f"{scores.accuracy:.6f}",
        }
        tags = {key: tags[key] for key in LINEAGE if key in tags} | own
        registered = register(client, name, registry.Candidate(model, digest, run_id, tags), scores)
    files.write_json(registration, asdict(registered))
    text = report.markdown(registered, evaluation)
    with files.new_file(summary) as new:
        new.write_text(text, "utf-8")
    files.write_json(STAMP, [inputs, tracking.store_state()])
    log.info("%s", report.verdict_line(registered))


def _inputs(model: Path, training: Path, evaluation: Path, name: str) -> str:
    """Return the SHA-256 of all that a registration is made of, this project's code included."""
    code = [path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))]
    folders = [files.folder_digest(folder).encode() for folder in (model, training, evaluation)]
    return files.digest(*code, *folders, name.encode(), tracking.uri().encode())


def _unchanged(inputs: str) -> bool:
    """Return whether the embedded store still is as the last registration of the same inputs left it.

    That takes no import of MLflow, which is most of what a run with nothing to do would take.
    """
    state = tracking.store_state()
    return state is not None and STAMP.exists() and files.read_json(STAMP) == [inputs, state]


if __name__ == "__main__":
    stage.run(main)
