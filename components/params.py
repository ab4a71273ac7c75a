"""params.yaml as frozen, strict models: one section a stage, ranges in the types, no value in code."""

import difflib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from components.errors import ParamsError


def _ordered(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] > limits[1]:
        raise ValueError(f"expected the smaller number first, received {list(limits)}")
    return limits


def _share_or_number(size: float) -> float:
    if size >= 1 and not size.is_integer():
        raise ValueError(f"expected a share below 1, or a whole number of images, received {size}")
    return size


Share = Annotated[float, Field(ge=0, le=1)]
Shares = Annotated[tuple[Share, Share], AfterValidator(_ordered)]
Size = Annotated[float, Field(gt=0), AfterValidator(_share_or_number)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Severity = Literal["stop", "warn"]
Rule = Literal["shapes", "counts", "labels", "balance", "range", "blank", "brightness", "ink", "duplicates", "leakage"]

# A Keras object: its name, or its name with arguments, as in `{Dense: {units: 10}}`.
Spec = str | dict[str, dict[str, Any]]


class Section(BaseModel):
    """What all sections share: nothing unknown, nothing changed later, no text read as a number."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Ingest(Section):
    """Where labelled images come from, and how they become one data set."""

    source: Literal["fashion_mnist", "cifar10", "path"]
    path: str
    class_names: list[str] | None
    image_size: tuple[Count, Count]
    color: Literal["grayscale", "rgb"]
    test_fraction: Annotated[float, Field(gt=0, lt=1)]
    limit: Count | None
    seed: Seed


class Limits(Section):
    """Where a statistic of one image must lie; shares of 1."""

    brightness: Shares
    ink: Shares


class Validate(Section):
    """What a data set must fulfil; `severity` says of each rule whether it stops the run or warns."""

    min_images: dict[Literal["train", "test"], Count]
    class_share: Shares
    min_brightest: Annotated[int, Field(ge=0, le=255)]
    ink_threshold: Annotated[int, Field(ge=1, le=255)]
    limits: dict[str, Limits]
    mostly: Share
    severity: dict[Rule, Severity]

    @model_validator(mode="after")
    def _is_whole(self) -> "Validate":
        if "default" not in self.limits:
            raise ValueError("expected limits for `default` as well, for the classes that have none of their own")
        for name, given, wanted in (
            ("min_images", self.min_images, ("train", "test")),
            ("severity", self.severity, get_args(Rule)),
        ):
            missing = [key for key in wanted if key not in given]
            if missing:
                raise ValueError(f"expected {name} for {', '.join(missing)} as well")
        return self


class Normalize(Section):
    """How pixels become the numbers that the network sees."""

    grayscale: bool
    standardize: bool
    validation: Size
    seed: Seed


class Compile(Section):
    """The arguments of `keras.Model.compile`."""

    optimizer: Spec
    loss: Spec
    metrics: list[Spec]
    weighted_metrics: list[Spec]
    loss_weights: list[float] | None
    steps_per_execution: Count


class EarlyStopping(Section):
    """When to end training: validation loss no better by `min_delta` for `patience` epochs."""

    patience: Count
    min_delta: Annotated[float, Field(ge=0)]


class Train(Section):
    """What is trained, and how."""

    network: str
    epochs: Count
    batch_size: Count
    shuffle: bool
    class_weight: Literal["balanced"] | dict[int, float] | None
    early_stopping: EarlyStopping | None
    best_weights: bool
    compile: Compile
    seed: Seed


class Evaluate(Section):
    """What is reported of the test set."""

    batch_size: Count
    examples: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    mistakes: Count
    calibration_bins: Count


class Register(Section):
    """Where the model is registered."""

    experiment: Annotated[str, Field(min_length=1)]
    model_name: Annotated[str, Field(pattern=r"^[^/:]+$")]


class Params(Section):
    """All of params.yaml."""

    ingest: Ingest
    # `validate` is taken: it is a method of every pydantic model
    validation: Annotated[Validate, Field(alias="validate")]
    normalize: Normalize
    train: Train
    networks: dict[str, Annotated[list[Spec], Field(min_length=1)]]
    evaluate: Evaluate
    register_: Annotated[Register, Field(alias="register")]

    @model_validator(mode="after")
    def _has_network(self) -> "Params":
        if self.train.network not in self.networks:
            names = ", ".join(sorted(self.networks))
            raise ValueError(f"train.network: expected one of networks ({names}), received {self.train.network}")
        return self


def load(path: Path = Path("params.yaml")) -> Params:
    """Return the parameters in `path`; ParamsError names the one that is wrong, and what would be right."""
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ParamsError(f"expected {path} in {Path.cwd()}; run from the project's top folder") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path} is not YAML: {' '.join(str(error).split())}; mend that line") from error
    try:
        # As JSON, a list may stand for a tuple and 1 for 1.0, and everything else stays strict.
        return Params.model_validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        raise ParamsError("; ".join(_explain(path, problem) for problem in error.errors())) from error


def _explain(path: Path, problem: Any) -> str:
    place = [str(part) for part in problem["loc"]]
    where = ".".join(place)
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(place[-1], _fields(place[:-1]), n=1)
        return f"{path}: unknown parameter {where}; " + (f"did you mean {near[0]}?" if near else "remove it")
    if problem["type"] == "missing":
        return f"{path}: {where} is missing; add it"
    message = problem["msg"].removeprefix("Value error, ")
    received = "" if problem["type"] == "value_error" else f", received {problem['input']!r}"
    return f"{path}: {f'{where}: ' if where else ''}{message[0].lower()}{message[1:]}{received}; correct it"


def _fields(place: list[str]) -> list[str]:
    """Return the names that may stand in the section at `place`."""
    model: type[BaseModel] = Params
    for name in place:
        field = next((f for key, f in model.model_fields.items() if name in (key, f.alias)), None)
        if field is None:  # a key of the user's own, as a class in `limits`
            continue
        kinds = getattr(field.annotation, "__args__", (field.annotation,))
        model = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), model)
    return [field.alias or key for key, field in model.model_fields.items()]
