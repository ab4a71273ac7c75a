"""The report of a whole run, as people read it at its end and in Prefect's UI."""

from dataclasses import dataclass
from pathlib import Path

from components import files
from components.gate import Verdict

NEXT = {
    "make ui": "look at the run, its curves and the registered model",
    "make serve": "serve the champion over HTTP",
    ". .venv/bin/activate && dvc exp run -S train.epochs=3": "try other parameters",
}


@dataclass(frozen=True)
class Registration:
    """What became of a model: its version, the version that serves now, its run, and the verdict."""

    model_name: str
    version: int
    champion: int | None
    run_id: str
    digest: str
    verdict: Verdict


def verdict_line(registered: Registration) -> str:
    """Return the verdict in one sentence."""
    verdict = registered.verdict
    became = "promoted to champion" if verdict.promoted else "not promoted"
    serving = "" if registered.champion == registered.version else f"; version {registered.champion} serves"
    return f"{registered.model_name} version {registered.version}: {became} ({verdict.sentence}){serving}"


def markdown(registered: Registration, evaluation: Path) -> str:
    """Return verdict, metrics, examples, per-class table and what to do next, as Markdown."""
    import pandas as pd

    scores = files.read_json(evaluation / "metrics.json")
    shown = files.read_json(evaluation / "evaluation.json")["examples"]
    classes = pd.read_csv(evaluation / "classes.csv")
    parts = [
        f"# {verdict_line(registered)}",
        _table(
            ["metric", "test set"],
            [[name.replace("_", " "), f"{value:.4f}"] for name, value in scores.items()],
        ),
        _table(
            ["test image", "predicted", "true", "confidence"],
            [
                [
                    str(row["index"]),
                    f"{row['predicted_name']} ({row['predicted_label']})",
                    f"{row['name']} ({row['label']})",
                    f"{row['confidence']:.1%}",
                ]
                for row in shown
            ],
        ),
        _table(
            ["class", "precision", "recall", "F1", "images"],
            [
                [
                    str(row.class_name),
                    f"{row.precision:.3f}",
                    f"{row.recall:.3f}",
                    f"{row.f1:.3f}",
                    str(row.images),
                ]
                for row in classes.itertuples()
            ],
        ),
        "What next:",
        "\n".join(f"- `{command}` to {purpose}" for command, purpose in NEXT.items()),
    ]
    return "\n\n".join(parts) + "\n"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
