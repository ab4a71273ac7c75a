"""Validate: hold a data set against a Great Expectations suite, and let nothing pass that is unfit."""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from components import dataset, files, params, stage, statistics
from components.dataset import Dataset
from components.errors import ValidationError

if TYPE_CHECKING:
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult
    from great_expectations.expectations import Expectation

log = logging.getLogger(__name__)

Table = Literal["images", "splits", "classes"]
NAMED = 10  # offending images that a report names; offenders.csv has them all


@dataclass(frozen=True)
class Finding:
    """What one expectation found: which rule it serves, whether it holds, and the rows that break it."""

    rule: params.Rule
    sentence: str
    severity: params.Severity
    success: bool
    observed: str
    offenders: pd.DataFrame

    def explain(self) -> str:
        """Return the finding as a sentence that names the first offending images."""
        rows = self.offenders.head(NAMED).itertuples()
        places = [f"{row.split}[{row.index_}] ({row.origin}{_twin(row.twin)})" for row in rows]
        more = len(self.offenders) - len(places)
        named = f": {', '.join(places)}{f' and {more} more' if more > 0 else ''}" if places else ""
        return f"{self.rule}: expected {self.sentence}, received {self.observed}{named}"


def _twin(twin: Any) -> str:
    return f", same as {twin}" if twin else ""


def tables(images: Dataset, settings: params.Validate) -> dict[Table, pd.DataFrame]:
    """Return the three tables that are validated: a row an image, a row a split, a row a class of a split."""
    return {
        "images": statistics.of_images(images, ink_threshold=settings.ink_threshold),
        "splits": statistics.of_splits(images),
        "classes": statistics.of_classes(images),
    }


def expectations(
    class_names: tuple[str, ...], settings: params.Validate
) -> Iterator[tuple[Table, params.Rule, str, "Expectation"]]:
    """Yield (table, rule, sentence, expectation) for everything that params ask of a data set."""
    import great_expectations.expectations as gxe
    from great_expectations.expectations.row_conditions import Column

    for column in ("height", "width", "channels"):
        unique = gxe.ExpectColumnUniqueValueCountToBeBetween(column=column, min_value=1, max_value=1)
        yield "splits", "shapes", f"one {column} in all splits", unique
    same = gxe.ExpectColumnPairValuesToBeEqual(column_A="images", column_B="labels")
    yield "splits", "counts", "as many labels as images", same
    for split, least in settings.min_images.items():
        enough = gxe.ExpectColumnValuesToBeBetween(
            column="images", min_value=least, row_condition=Column("split") == split
        )
        yield "splits", "counts", f"at least {least} {split} images", enough
    known = gxe.ExpectColumnValuesToBeInSet(column="label", value_set=list(range(len(class_names))))
    yield "images", "labels", f"labels 0 to {len(class_names) - 1}", known
    low, high = settings.class_share
    share = gxe.ExpectColumnValuesToBeBetween(column="share", min_value=low, max_value=high)
    yield "classes", "balance", f"every class to be {low:g} to {high:g} of each split", share
    bright = gxe.ExpectColumnValuesToBeBetween(column="brightest", min_value=settings.min_brightest, max_value=255)
    yield "splits", "range", f"pixels 0 to 255, the brightest {settings.min_brightest} or more", bright
    some = gxe.ExpectColumnValuesToBeBetween(column="contrast", min_value=1, max_value=255)
    yield "images", "blank", "no image of one single shade", some
    limited: tuple[tuple[params.Rule, str], ...] = (("brightness", "mean brightness"), ("ink", "share of ink"))
    for rule, statistic in limited:
        for label, name in enumerate(class_names):
            low, high = getattr(settings.limits.get(name, settings.limits["default"]), rule)
            within = gxe.ExpectColumnValuesToBeBetween(
                column=rule, min_value=low, max_value=high, mostly=settings.mostly,
                row_condition=Column("label") == label,
            )  # fmt: skip
            yield "images", rule, f"{statistic} of {name} {low:g} to {high:g}", within
    single: tuple[tuple[params.Rule, str, str], ...] = (
        ("duplicates", "copies", "in the same split"),
        ("leakage", "leaks", "in the other split"),
    )
    for rule, column, where in single:
        once = gxe.ExpectColumnValuesToBeBetween(column=column, min_value=0, max_value=0)
        yield "images", rule, f"no image that is {where} as well", once


def validate(
    frames: Mapping[Table, pd.DataFrame], class_names: tuple[str, ...], settings: params.Validate, docs: Path
) -> list[Finding]:
    """Return what every expectation found in the tables, and write Great Expectations' Data Docs to `docs`."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations as gx

    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    wanted = list(expectations(class_names, settings))
    findings: list[Finding] = []
    with tempfile.TemporaryDirectory() as project:
        context = gx.get_context(mode="file", project_root_dir=project)
        context.variables.progress_bars = {"globally": False}  # type: ignore[assignment] - a plain dict is what it reads
        source = context.data_sources.add_pandas("atelier")
        for table, frame in frames.items():
            suite = gx.ExpectationSuite(name=table)
            for index, (of, rule, sentence, expectation) in enumerate(wanted):
                if of == table:
                    expectation.severity = _SEVERITY[settings.severity[rule]]
                    expectation.meta = {"rule": rule, "number": index}
                    expectation.notes = f"{rule}: {sentence}"
                    suite.add_expectation(expectation)
            batch = source.add_dataframe_asset(table).add_batch_definition_whole_dataframe("all")
            definition = gx.ValidationDefinition(name=table, data=batch, suite=context.suites.add(suite))
            context.validation_definitions.add(definition)
            result = definition.run(batch_parameters={"dataframe": frame}, result_format=_RESULT_FORMAT)
            findings += [_finding(outcome, wanted, frame, settings) for outcome in result.results]
        context.build_data_docs()
        shutil.copytree(Path(project) / "gx/uncommitted/data_docs/local_site", docs)
    return findings


_SEVERITY: dict[params.Severity, Any] = {"stop": "critical", "warn": "warning"}
_RESULT_FORMAT = {"result_format": "COMPLETE", "include_unexpected_rows": False}


def _finding(
    outcome: "ExpectationValidationResult",
    wanted: list[tuple[Table, params.Rule, str, "Expectation"]],
    frame: pd.DataFrame,
    settings: params.Validate,
) -> Finding:
    table, rule, sentence, _ = wanted[outcome.expectation_config.meta["number"]]  # type: ignore[index] - set where the suite is made
    result: Mapping[str, Any] = outcome.result or {}
    rows = frame.loc[result.get("unexpected_index_list") or []] if not outcome.success else frame.iloc[:0]
    if table == "images":
        observed = f"{len(rows)} of {result.get('element_count', len(frame))} images that are not so"
    else:
        values = result.get("observed_value", result.get("unexpected_list"))
        observed = f"{values}" if rows.empty else "; ".join(_describe(row) for row in rows.to_dict("records"))
    return Finding(
        rule=rule,
        sentence=sentence,
        severity=settings.severity[rule],
        success=bool(outcome.success),
        observed=observed,
        offenders=_offenders(rows, rule) if table == "images" else frame.iloc[:0],
    )


def _offenders(rows: pd.DataFrame, rule: params.Rule) -> pd.DataFrame:
    """Return the rows with the twin that this rule is about, if it is about twins."""
    twin = {"duplicates": "copy_of", "leakage": "leak_of"}.get(rule)
    return rows.rename(columns={"index": "index_"}).assign(twin=rows[twin] if twin else "")


def _describe(row: Mapping[Any, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in row.items())


def report(images: Dataset, settings: params.Validate, folder: Path) -> list[Finding]:
    """Return the findings on a data set, and write them to `folder` with all that is worth keeping.

    validation.json says what was asked and found, offenders.csv names every image that broke a rule,
    profile.json is the reference profile of the training split, docs/ are the Data Docs.
    """
    frames = tables(images, settings)
    findings = validate(frames, images.class_names, settings, folder / "docs")
    columns = [
        "rule",
        "severity",
        "split",
        "index_",
        "origin",
        "class_name",
        "brightness",
        "ink",
        "contrast",
        "twin",
    ]
    offenders = [each.offenders.assign(rule=each.rule, severity=each.severity) for each in findings]
    whole = pd.concat([each for each in offenders if len(each)] or [pd.DataFrame(columns=columns)])
    whole[columns].rename(columns={"index_": "index"}).to_csv(folder / "offenders.csv", index=False)
    files.write_json(folder / "profile.json", statistics.profile(frames["images"]))
    summary = {
        "digest": images.digest(),
        "images": len(frames["images"]),
        "stopped": sum(_stops(each) for each in findings),
        "warned": sum(not each.success for each in findings) - sum(_stops(each) for each in findings),
        "expectations": [
            {
                "rule": each.rule,
                "expected": each.sentence,
                "severity": each.severity,
                "success": each.success,
                "offenders": len(each.offenders),
            }
            for each in findings
        ],
    }
    files.write_json(folder / "validation.json", summary)
    return findings


def _stops(finding: Finding) -> bool:
    return finding.severity == "stop" and not finding.success


def main(raw: Path, reports: Path) -> None:
    """Validate `raw` and write `reports`; if it must stop, leave those alone and write `reports`-failed."""
    settings = params.load().validation
    failed = reports.with_name(f"{reports.name}-failed")
    with files.new_folder(failed) as new:
        findings = report(dataset.load(raw), settings, new)
    for finding in findings:
        if not finding.success and not _stops(finding):
            log.warning("warning: %s", finding.explain())
    stopping = [finding for finding in findings if _stops(finding)]
    if stopping:
        raise ValidationError(
            f"expected {raw} to hold all {len(findings)} expectations, received {len(stopping)} that must stop the run "
            f"({'; '.join(finding.explain() for finding in stopping)}); see {failed}/docs/index.html, "
            "then correct the data or the `validate` section of params.yaml"
        )
    files.replace(failed, reports)
    log.info("%s expectations hold, %s warn", *_count(findings))


def _count(findings: list[Finding]) -> tuple[int, int]:
    holding = sum(finding.success for finding in findings)
    return holding, len(findings) - holding


if __name__ == "__main__":
    stage.run(main)
