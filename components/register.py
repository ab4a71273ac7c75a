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

LINEAGE = ("mlflow.source.git.commit", "git.clean", "prefect.flow_run")  # tags that a version has from its run


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
    log.info("%s", report.verdict_line(registered))


if __name__ == "__main__":
    stage.run(main)

