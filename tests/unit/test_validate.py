"""Validate: every rule catches what it is for and nothing else, names the image, and stops or warns as told."""

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from components import dataset, files, params, statistics, validate
from components.dataset import Dataset
from components.errors import ValidationError
from components.validate import Finding
from tests.unit.conftest import contents, noise, shipped, small_dataset, split, write_params

RULES: tuple[str, ...] = get_args(params.Rule)
STRICT = {
    "min_images": {"train": 30, "test": 12},
    "class_share": [0.2, 0.5],
    "limits": {"default": {"brightness": [0.2, 0.8], "ink": [0.5, 1.0]}},
    "severity": dict.fromkeys(RULES, "stop"),
}


def settings(**changes: Any) -> params.Validate:
    """Return settings that a data set of `small_dataset` fulfils, with changes."""
    return params.Validate.model_validate(shipped(validate=STRICT | changes)["validate"], strict=False)


def broken(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if not finding.success]


def with_images(one: Dataset, changes: dict[tuple[str, int], np.ndarray]) -> Dataset:
    """Return the data set with some images replaced, by split and index."""
    parts = {name: replace(part, images=part.images.copy()) for name, part in one.splits.items()}
    for (name, index), image in changes.items():
        parts[name].images[index] = image
    return replace(one, **parts)


def with_train_labels(one: Dataset, changes: dict[int, int]) -> Dataset:
    labels = one.train.labels.copy()
    for index, label in changes.items():
        labels[index] = label
    return replace(one, train=replace(one.train, labels=labels))


def few(one: Dataset) -> Dataset:
    return replace(one, train=one.train.take(np.arange(27)))


def without_a_label(one: Dataset) -> Dataset:
    return replace(one, test=replace(one.test, labels=one.test.labels[:-1]))


def other_shape(one: Dataset) -> Dataset:
    return replace(one, test=replace(one.test, images=noise(12, 8, 9, seed=1)))


def other_channels(one: Dataset) -> Dataset:
    return replace(one, test=replace(one.test, images=noise(12, 8, 8, 3, seed=1)))


def half_bright(one: Dataset) -> Dataset:
    return replace(one, test=replace(one.test, images=one.test.images // 2 + 10))


ONE_SHADE = np.full((8, 8), 128, np.uint8)
DARK = np.tile(np.array([20, 21], np.uint8), (8, 4))  # mean brightness 0.08, all of it ink
BRIGHT = np.tile(np.array([250, 251], np.uint8), (8, 4))
THIN = np.zeros((8, 8), np.uint8)
THIN[:, :3] = 250  # mean brightness 0.37, ink 0.375


@dataclass(frozen=True)
class Case:
    """One way to break a data set, the rule that must notice, and what it must say."""

    rule: str
    breaks: Callable[[Dataset], Dataset]
    says: tuple[str, ...]
    unsaid: tuple[str, ...] = ()


CASES = {
    "another height or width": Case("shapes", other_shape, ("one width in all splits, received 2",)),
    "another number of channels": Case("shapes", other_channels, ("one channels in all splits, received 2",)),
    "too few images": Case("counts", few, ("at least 30 train images", "split train, images 27")),
    "a label too few": Case("counts", without_a_label, ("split test, images 12, labels 11",)),
    "a label beyond": Case(
        "labels", lambda one: with_train_labels(one, {4: 3}), ("labels 0 to 2", "train[4] (train-file[104])")
    ),
    "a label below": Case("labels", lambda one: with_train_labels(one, {4: -1}), ("train[4] (train-file[104])",)),
    "a class too rare": Case(
        "balance",
        lambda one: with_train_labels(one, {2: 1, 5: 0, 8: 1, 11: 0, 14: 1}),
        ("every class to be 0.2 to 0.5", "split train, class_name owl, images 5"),
        ("class_name cat",),
    ),
    "half the range": Case("range", half_bright, ("the brightest 200 or more", "split test"), ("split train",)),
    "an image of one shade": Case(
        "blank", lambda one: with_images(one, {("test", 5): ONE_SHADE}), ("test[5] (test-file[105])",)
    ),
    "a dark image": Case(
        "brightness",
        lambda one: with_images(one, {("train", 7): DARK}),
        ("mean brightness of dog 0.2 to 0.8, received 1 of 14", "train[7] (train-file[107])"),
    ),
    "a bright image": Case(
        "brightness", lambda one: with_images(one, {("test", 0): BRIGHT}), ("of cat", "test[0] (test-file[100])")
    ),
    "an image of little ink": Case(
        "ink",
        lambda one: with_images(one, {("train", 8): THIN}),
        ("share of ink of owl 0.5 to 1, received 1 of 14", "train[8] (train-file[108])"),
    ),
    "the same image twice": Case(
        "duplicates",
        lambda one: with_images(one, {("train", 9): one.train.images[3]}),
        ("train[3] (train-file[103], same as train[9])", "train[9] (train-file[109], same as train[3])"),
    ),
    "a training image in the test set": Case(
        "leakage",
        lambda one: with_images(one, {("test", 1): one.train.images[6]}),
        ("train[6] (train-file[106], same as test[1])", "test[1] (test-file[101], same as train[6])"),
    ),
}


def test_there_is_a_case_for_every_rule() -> None:
    assert {case.rule for case in CASES.values()} == set(RULES)


def test_clean_data_fulfils_every_rule(tmp_path: Path) -> None:
    findings = validate.report(small_dataset(), settings(), tmp_path)
    assert broken(findings) == []
    assert {finding.rule for finding in findings} == set(RULES)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_broken_data_breaks_its_rule_alone_and_the_image_is_named(tmp_path: Path, case: Case) -> None:
    findings = broken(validate.report(case.breaks(small_dataset()), settings(), tmp_path))
    assert {finding.rule for finding in findings} == {case.rule}
    said = " ".join(finding.explain() for finding in findings)
    assert [words for words in case.says if words not in said] == []
    assert [words for words in case.unsaid if words in said] == []


def test_image_that_is_a_duplicate_and_a_leak_has_the_right_twin_for_each(tmp_path: Path) -> None:
    one = small_dataset()
    image = one.train.images[3]
    findings = broken(
        validate.report(with_images(one, {("train", 9): image, ("test", 0): image}), settings(), tmp_path)
    )
    said = {finding.rule: finding.explain() for finding in findings}
    assert said.keys() == {"duplicates", "leakage"}
    assert "train[9] (train-file[109], same as train[3])" in said["duplicates"]
    assert "test[" not in said["duplicates"]
    assert "train[9] (train-file[109], same as test[0])" in said["leakage"]
    assert "test[0] (test-file[100], same as train[3])" in said["leakage"]


def test_limits_of_a_class_hold_for_it_and_the_default_for_the_others(tmp_path: Path) -> None:
    limits = {
        "default": {"brightness": [0.2, 0.8], "ink": [0.5, 1.0]},
        "dog": {"brightness": [0.0, 0.1], "ink": [0.0, 1.0]},
    }
    findings = broken(validate.report(small_dataset(), settings(limits=limits), tmp_path))
    assert {finding.rule for finding in findings} == {"brightness"}
    assert {str(name) for finding in findings for name in finding.offenders["class_name"]} == {"dog"}
    assert sum(len(finding.offenders) for finding in findings) == 14


@pytest.mark.parametrize(("mostly", "rules"), [(0.9, set()), (0.95, {"brightness"})])
def test_mostly_lets_so_many_of_a_class_be_outside(tmp_path: Path, mostly: float, rules: set[str]) -> None:
    one = with_images(small_dataset(), {("train", 7): DARK})  # 1 of 14 dogs: 0.93 are inside
    assert {each.rule for each in broken(validate.report(one, settings(mostly=mostly), tmp_path))} == rules


def test_class_may_have_any_name(tmp_path: Path) -> None:
    names = ('7" pizza', "cat's", "back\\slash", "", "naïve 猫 == {x}")
    one = replace(small_dataset(30, 15, classes=5), class_names=names)
    one = with_images(one, {("train", index): DARK + index for index in range(5)})
    findings = broken(validate.report(one, settings(), tmp_path))
    assert [(each.rule, each.offenders["class_name"].tolist()) for each in findings] == [
        ("brightness", [name]) for name in names
    ]


def test_report_names_ten_images_and_the_table_has_all(tmp_path: Path) -> None:
    one = small_dataset()
    wanted = settings(limits={"default": {"brightness": [0.99, 1.0], "ink": [0.0, 1.0]}})
    finding = next(each for each in broken(validate.report(one, wanted, tmp_path)) if "of cat" in each.sentence)
    assert "train[27] (train-file[127]) and 4 more" in finding.explain()
    with (tmp_path / "offenders.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["class_name"] == "cat"]
    assert [f"{row['split']}[{row['index']}]" for row in rows] == [
        *(f"train[{index}]" for index in range(0, 30, 3)),
        *(f"test[{index}]" for index in range(0, 12, 3)),
    ]
    assert {(row["rule"], row["severity"]) for row in rows} == {("brightness", "stop")}
    assert rows[0]["origin"] == "train-file[100]"
    assert float(rows[0]["brightness"]) == pytest.approx(one.train.images[0].mean() / 255)


def test_report_has_all_that_is_worth_keeping(tmp_path: Path) -> None:
    one = with_images(small_dataset(), {("train", 7): DARK, ("train", 8): THIN})
    wanted = settings(severity=dict.fromkeys(RULES, "stop") | {"ink": "warn"})
    findings = validate.report(one, wanted, tmp_path)
    summary = files.read_json(tmp_path / "validation.json")
    assert (summary["digest"], summary["images"]) == (one.digest(), 42)
    assert (summary["stopped"], summary["warned"]) == (1, 1)
    assert len(summary["expectations"]) == len(findings)
    assert [each["rule"] for each in summary["expectations"] if not each["success"]] == ["brightness", "ink"]
    profile = statistics.profile(statistics.of_images(one, ink_threshold=16))
    assert files.read_json(tmp_path / "profile.json") == profile
    pages = [page.read_text("utf-8") for page in (tmp_path / "docs/validations").rglob("*.html")]
    assert any("brightness" in page and "Failed" in page for page in pages)


def test_clean_data_has_a_table_of_offenders_without_rows(tmp_path: Path) -> None:
    validate.report(small_dataset(), settings(), tmp_path)
    assert (tmp_path / "offenders.csv").read_text().splitlines() == [
        "rule,severity,split,index,origin,class_name,brightness,ink,contrast,twin"
    ]


# the stage


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with parameters, in which the stage runs, and the reports of a run before."""
    write_params(tmp_path, validate=STRICT | {"severity": dict.fromkeys(RULES, "stop") | {"ink": "warn"}})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reports/validation/docs").mkdir(parents=True)
    (tmp_path / "reports/validation/docs/index.html").write_text("of the run before")
    (tmp_path / "reports/validation/validation.json").write_text('{"digest": "of the run before"}')
    return tmp_path


def run(one: Dataset) -> None:
    dataset.save(one, Path("data/raw"))
    validate.main(Path("data/raw"), Path("reports/validation"))


def test_rule_that_warns_does_not_stop_the_run(project: Path) -> None:
    one = with_images(small_dataset(), {("train", 8): THIN})
    run(one)
    summary = json.loads((project / "reports/validation/validation.json").read_text())
    assert summary["digest"] == one.digest()
    assert (summary["stopped"], summary["warned"]) == (0, 1)
    assert "train-file[108]" in (project / "reports/validation/offenders.csv").read_text()
    assert not (project / "reports/validation-failed").exists()


def test_rule_that_stops_leaves_the_reports_and_writes_others_beside_them(project: Path) -> None:
    before = contents(project / "reports/validation")
    with pytest.raises(ValidationError) as caught:
        run(with_images(small_dataset(), {("train", 7): DARK, ("train", 8): THIN}))
    said = str(caught.value)
    assert "train[7] (train-file[107])" in said
    assert "train[8]" not in said  # that one only warns
    assert "reports/validation-failed/docs/index.html" in said
    assert "\n" not in said
    assert contents(project / "reports/validation") == before
    failed = project / "reports/validation-failed"
    assert sorted(path.name for path in failed.iterdir()) == [
        "docs", "offenders.csv", "profile.json", "validation.json",
    ]  # fmt: skip
    assert json.loads((failed / "validation.json").read_text())["stopped"] == 1


def test_success_takes_the_failed_report_away(project: Path) -> None:
    with pytest.raises(ValidationError):
        run(with_images(small_dataset(), {("train", 7): DARK}))
    run(small_dataset())
    assert [path.name for path in (project / "reports").iterdir()] == ["validation"]
    assert "of the run before" not in (project / "reports/validation/docs/index.html").read_text("utf-8")


def test_the_same_data_gives_the_same_report(project: Path) -> None:
    run(small_dataset())
    first = contents(project / "reports/validation")
    run(small_dataset())
    second = contents(project / "reports/validation")
    for name in ("offenders.csv", "profile.json", "validation.json"):
        assert first[name] == second[name]


def test_a_split_of_one_class_is_unbalanced_and_the_others_are_named(tmp_path: Path) -> None:
    one = small_dataset()
    only = replace(one, test=split(one.test.images, np.zeros(12), file=1))
    findings = broken(validate.report(only, settings(), tmp_path))
    assert {finding.rule for finding in findings} == {"balance"}
    assert "split test, class_name owl, images 0" in findings[0].explain()
