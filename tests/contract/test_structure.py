"""The architecture as claims about imports, and dvc.yaml as claims about the code."""

import ast
import inspect
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from components.params import Params

ROOT = Path(__file__).parents[2]
DVC = yaml.safe_load((ROOT / "dvc.yaml").read_text("utf-8"))["stages"]
MODULES = sorted(
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    for package in ("components", "flows")
    for path in (ROOT / package).glob("*.py")
    if path.stem != "__init__"
)
COMPONENTS = [name for name in MODULES if name.startswith("components.")]
# What a module may import although the rule speaks against it, and why.
ALLOWED = {
    "keras": {"network", "train", "sources"},  # sources: keras.datasets, and nothing else of it
    "tensorflow": {"train"},
    "mlflow": {"tracking", "registry", "bundle", "scorer"},
    "great_expectations": {"validate"},
    "ai_edge_litert": {"scorer"},
}


@cache
def imports(module: str) -> frozenset[str]:
    """Return the full names of all that a module imports when it runs, wherever in it the import stands."""
    found: set[str] = set()
    tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text("utf-8"))
    for node in ast.walk(_Runtime().visit(tree)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


class _Runtime(ast.NodeTransformer):
    """Leave out what only the type checker reads."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        only_types = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return None if only_types else self.generic_visit(node)


def packages(module: str) -> set[str]:
    return {name.split(".")[0] for name in imports(module)}


def needed(module: str, seen: frozenset[str] = frozenset()) -> frozenset[str]:
    """Return the project's modules that a module needs, itself included."""
    for name in [module, *(name for name in imports(module) if name in MODULES)]:
        if name not in seen:
            seen = needed(name, seen | {name})
    return seen


@pytest.mark.parametrize("module", COMPONENTS)
def test_components_know_no_driver(module: str) -> None:
    assert not packages(module) & {"flows", "serving", "prefect", "dvc"}


@pytest.mark.parametrize("stage", DVC)
def test_stages_do_not_import_each_other(stage: str) -> None:
    others = {f"components.{name}" for name in DVC if name != stage}
    assert not imports(f"components.{stage}") & others


@pytest.mark.parametrize("package", ALLOWED)
def test_heavy_libraries_stay_where_they_belong(package: str) -> None:
    users = {name.rpartition(".")[2] for name in COMPONENTS if package in packages(name)}
    assert users <= ALLOWED[package]


def test_tensorflow_is_imported_by_training_alone() -> None:
    for stage in DVC:
        heavy = {name for name in needed(f"components.{stage}") if packages(name) & {"tensorflow"}}
        assert not heavy or stage == "train"


def test_sources_takes_nothing_of_keras_but_its_data_sets() -> None:
    text = (ROOT / "components/sources.py").read_text("utf-8")
    uses = {node.attr for node in ast.walk(ast.parse(text)) if _is_attribute_of(node, "keras")}
    assert uses == {"datasets"}


def _is_attribute_of(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == name


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("flows.")])
def test_flows_know_of_components_only_errors_and_params(module: str) -> None:
    ours = {name for name in imports(module) if name in COMPONENTS}
    assert ours <= {"components.errors", "components.params"}


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("flows.")])
def test_flows_name_no_stage_and_no_output(module: str) -> None:
    text = (ROOT / f"{module.replace('.', '/')}.py").read_text("utf-8")
    words = {node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)}
    outputs = {_path(out) for stage in DVC.values() for out in stage["outs"]}
    assert not words & (set(DVC) | outputs)


@pytest.mark.parametrize("stage", DVC)
def test_every_module_a_stage_needs_is_among_its_deps(stage: str) -> None:
    wanted = {f"{name.replace('.', '/')}.py" for name in needed(f"components.{stage}")}
    # The bundle copies the scorer, which is an import in all but name.
    wanted |= {"components/scorer.py"} if stage == "train" else set()
    listed = {dep for dep in DVC[stage]["deps"] if dep.startswith("components/")}
    assert listed == wanted


@pytest.mark.parametrize("stage", DVC)
def test_the_command_calls_the_stage_with_the_paths_of_its_deps_and_outs(stage: str) -> None:
    words = DVC[stage]["cmd"].split()
    assert words[:3] == ["python", "-m", f"components.{stage}"]
    outs = {_path(out) for out in DVC[stage]["outs"]}
    for path in words[3:]:
        inside = {out for out in outs if out == path or out.startswith(f"{path}/")}
        assert path in DVC[stage]["deps"] or inside, f"{path} is neither read nor written"
    main = import_module(f"components.{stage}").main
    assert len(words[3:]) == len(inspect.signature(main).parameters)


@pytest.mark.parametrize("stage", DVC)
def test_the_params_of_a_stage_are_sections_that_params_has(stage: str) -> None:
    sections = {field.alias or name for name, field in Params.model_fields.items()}
    named = {str(param).split(".")[0] for param in DVC[stage]["params"]}
    assert named <= sections
    assert stage in named


@pytest.mark.parametrize("stage", DVC)
def test_a_stage_reads_no_section_that_dvc_does_not_track(stage: str) -> None:
    tree = list(ast.walk(ast.parse((ROOT / f"components/{stage}.py").read_text("utf-8"))))
    sections = {name: (field.alias or name) for name, field in Params.model_fields.items()}
    whole = {
        target.id
        for node in tree
        if isinstance(node, ast.Assign) and _loads_params(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    read = {
        sections[node.attr]
        for node in tree
        if isinstance(node, ast.Attribute) and node.attr in sections
        if _loads_params(node.value) or (isinstance(node.value, ast.Name) and node.value.id in whole)
    }
    assert read
    assert read <= {str(param).split(".")[0] for param in DVC[stage]["params"]}


def _loads_params(node: ast.AST) -> bool:
    """Return whether an expression is `params.load()`, which is all of params.yaml."""
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "params.load"


def _path(out: str | dict[str, object]) -> str:
    return out if isinstance(out, str) else next(iter(out))
