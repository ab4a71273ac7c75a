"""params.yaml: what is shipped loads, and every mistake is one line that names the parameter."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pydantic
import pytest
import yaml

from components import params
from components.errors import ParamsError
from tests.unit.conftest import SHIPPED, shipped, write_params

MISSING = object()


def change(values: dict[str, Any], place: str, value: object) -> dict[str, Any]:
    """Set, or take away, the value at a place as `train.compile.loss`."""
    *above, last = place.split(".")
    section = values
    for name in above:
        section = section[name]
    if value is MISSING:
        del section[last]
    else:
        section[last] = value
    return values


def complaint(folder: Path, values: object) -> str:
    """Return the one line that params say of the values."""
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(values), "utf-8")
    with pytest.raises(ParamsError) as caught:
        params.load(path)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    return text


def sections(model: type[params.Section] = params.Section) -> Iterator[type[params.Section]]:
    for section in model.__subclasses__():
        if section.__module__ == params.__name__:  # the flow has sections of its own, which are not of params.yaml
            yield section
            yield from sections(section)


def test_shipped_parameters_load() -> None:
    loaded = params.load(SHIPPED)
    assert loaded.model_dump(by_alias=True, mode="json") == yaml.safe_load(SHIPPED.read_text("utf-8"))


@pytest.mark.parametrize("section", list(sections()), ids=lambda section: section.__name__)
def test_code_shadows_no_parameter_with_a_default(section: type[params.Section]) -> None:
    assert section.model_fields
    assert [name for name, field in section.model_fields.items() if not field.is_required()] == []


def test_parameters_cannot_be_changed_once_loaded() -> None:
    loaded = params.load(SHIPPED)
    with pytest.raises(pydantic.ValidationError):
        loaded.train.epochs = 3  # type: ignore[misc] - that is the claim


def all_places(values: dict[str, Any] | None = None, above: str = "") -> list[str]:
    """Return the places of all parameters that have a fixed name."""
    free = {"networks", "limits"}
    found: list[str] = []
    for name, value in (values or shipped()).items():
        found.append(f"{above}{name}")
        if isinstance(value, dict) and name not in free:
            found += all_places(value, f"{above}{name}.")
    return found


@pytest.mark.parametrize("place", all_places())
def test_missing_parameter_is_named(tmp_path: Path, place: str) -> None:
    text = complaint(tmp_path, change(shipped(), place, MISSING))
    for name in place.split("."):
        assert name in text


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("ingets", "ingest"),
        ("train.epohcs", "epochs"),
        ("train.compile.optimiser", "optimizer"),
        ("validate.limits.Coat.brightnes", "brightness"),
        ("register.modelname", "model_name"),
    ],
)
def test_misspelt_parameter_is_named_with_the_one_that_was_meant(tmp_path: Path, misspelt: str, meant: str) -> None:
    text = complaint(tmp_path, change(shipped(), misspelt, 1))
    assert f"unknown parameter {misspelt}; did you mean {meant}?" in text


def test_misspelt_parameter_of_an_optional_section_is_named_with_the_one_that_was_meant(tmp_path: Path) -> None:
    values = change(shipped(), "train.early_stopping", {"patience": 3, "min_detla": 0.0})
    assert "train.early_stopping.min_detla; did you mean min_delta?" in complaint(tmp_path, values)


def test_unknown_parameter_like_no_other_is_to_be_removed(tmp_path: Path) -> None:
    assert "unknown parameter train.zzz; remove it" in complaint(tmp_path, change(shipped(), "train.zzz", 1))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("ingest.image_size", [28, 0]),
        ("ingest.limit", 0),
        ("ingest.seed", -1),
        ("ingest.seed", 2**32),
        ("ingest.test_fraction", 0.0),
        ("ingest.test_fraction", 1.0),
        ("validate.class_share", [0.1, 1.5]),
        ("validate.ink_threshold", 256),
        ("validate.min_brightest", -1),
        ("validate.mostly", 1.01),
        ("normalize.validation", 0),
        ("normalize.validation", 1.5),
        ("train.epochs", 0),
        ("train.batch_size", -128),
        ("evaluate.examples", []),
        ("evaluate.examples", [-1]),
        ("networks.slides", []),
        ("register.model_name", "models:/clothes"),
        ("register.experiment", ""),
    ],
)
def test_value_out_of_range_is_named(tmp_path: Path, place: str, value: object) -> None:
    assert f"{tmp_path}/params.yaml: {place}" in complaint(tmp_path, change(shipped(), place, value))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("ingest.source", "mnist"),
        ("ingest.class_names", ["yes", False]),
        ("ingest.image_size", [28]),
        ("ingest.image_size", [28, 28, 3]),
        ("train.epochs", "2"),
        ("train.epochs", 2.5),
        ("train.epochs", True),
        ("train.epochs", None),
        ("train.shuffle", "yes"),
        ("train.compile", "adam"),
        ("train.class_weight", {"Coat": 1.5}),
        ("train", None),
        ("validate.mostly", "all"),
        ("validate.severity.blank", "ignore"),
        ("normalize.standardize", 1),
    ],
)
def test_value_of_the_wrong_type_is_named_with_what_was_received(tmp_path: Path, place: str, value: object) -> None:
    text = complaint(tmp_path, change(shipped(), place, value))
    assert f"{tmp_path}/params.yaml: {place}" in text
    assert "received" in text or "missing" in text
    assert "correct it" in text or "add it" in text


@pytest.mark.parametrize("place", ["validate.class_share", "validate.limits.Coat.ink"])
def test_limits_in_the_wrong_order_are_named(tmp_path: Path, place: str) -> None:
    text = complaint(tmp_path, change(shipped(), place, [0.6, 0.4]))
    assert f"{place}: expected the smaller number first, received [0.6, 0.4]" in text


@pytest.mark.parametrize("rule", get_args(params.Rule))
def test_rule_without_a_severity_is_named(tmp_path: Path, rule: str) -> None:
    text = complaint(tmp_path, change(shipped(), f"validate.severity.{rule}", MISSING))
    assert f"validate: expected severity for {rule} as well" in text


def test_unknown_rule_is_answered_with_the_rules(tmp_path: Path) -> None:
    text = complaint(tmp_path, change(shipped(), "validate.severity.blnk", "stop"))
    assert "validate.severity.blnk" in text
    assert all(rule in text for rule in get_args(params.Rule))


def test_limits_without_default_are_incomplete(tmp_path: Path) -> None:
    assert "limits for `default`" in complaint(tmp_path, change(shipped(), "validate.limits.default", MISSING))


def test_unknown_network_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    text = complaint(tmp_path, change(shipped(), "train.network", "resnet"))
    assert "train.network: expected one of networks (slides), received resnet" in text


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    values = change(change(shipped(), "train.epochs", 0), "ingest.limit", "all")
    text = complaint(tmp_path, values)
    assert "train.epochs" in text
    assert "ingest.limit" in text


@pytest.mark.parametrize(
    "raw",
    [b"train: [1\nepochs: 2", b"train: {", b"a: b: c", b"\ttrain: 1", b"train: \xff\xfe", b"\x89PNG\r\n\x1a\n\0\0"],
    ids=repr,
)
def test_file_that_is_not_yaml_is_named(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(raw)
    with pytest.raises(ParamsError) as caught:
        params.load(path)
    assert f"{path} is not YAML" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("raw", ["", "just text", "- a\n- list", "3"])
def test_yaml_without_sections_is_refused(tmp_path: Path, raw: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(raw)
    with pytest.raises(ParamsError, match="should be an object"):
        params.load(path)


def test_missing_file_says_where_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParamsError) as caught:
        params.load()
    assert f"expected params.yaml in {tmp_path}" in str(caught.value)
    assert "top folder" in str(caught.value)


def test_whole_numbers_may_stand_for_shares_and_class_weights_have_labels_as_keys(tmp_path: Path) -> None:
    path = write_params(tmp_path, validate={"mostly": 1}, train={"class_weight": {0: 1.5, 3: 2}})
    loaded = params.load(path)
    assert loaded.validation.mostly == 1.0
    assert loaded.train.class_weight == {0: 1.5, 3: 2.0}
