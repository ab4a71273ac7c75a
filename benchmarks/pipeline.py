"""What the stages cost, and what their two drivers add to a plain script: python -m benchmarks.pipeline."""

import importlib
import json
import logging
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import chdir
from dataclasses import dataclass
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory, TemporaryFile

import psutil
import yaml
from rich import box
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
HEAVY = "tensorflow, keras, great_expectations, mlflow, prefect.server.api.server, dvc.repo, sklearn, matplotlib.pyplot"

# What the project promises.
STAGE_MIB = 3 * 1024
OTHER_SECONDS = 60  # of a full run, all that is not training
DVC_SECONDS, FLOW_SECONDS = 5, 3  # with nothing to do, more than the tool itself takes to see that

IDLE_RUNS = 5
PLAIN, DVC, FLOW = "plain script", "dvc repro", "atelier run"
PLAIN_SCRIPT = "import sys; from benchmarks.pipeline import run_plainly; run_plainly(*sys.argv[1:])"
STEPS = ".cache/steps.json"  # where the plain script leaves the seconds of its steps
EPOCH = re.compile(r"\b(\d+)/\1 - (\d+)s - ")  # Keras' line at the end of an epoch, in whole seconds
TRIVIAL_GRAPH = {"stages": {"trivial": {"cmd": "echo done > trivial.txt", "outs": ["trivial.txt"]}}}
TRIVIAL_FLOW = """
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

@task(cache_policy=NO_CACHE)
def nothing():
    pass

@flow
def trivial():
    for _ in range({tasks}):
        nothing()

trivial()
"""

Changes = Mapping[str, Mapping[str, object]]
Graph = Mapping[str, list[str]]


@dataclass(frozen=True)
class Measured:
    """A process that has ended: its wall time in seconds, its peak memory in MiB, and all that it printed."""

    seconds: float
    peak_mib: float
    output: str

    @property
    def epochs(self) -> list[int]:
        """Return the seconds that Keras says every epoch took, rounded to whole ones."""
        return [int(seconds) for _, seconds in EPOCH.findall(self.output)]


def run(command: Sequence[str], folder: Path) -> Measured:
    """Run a command in `folder`, with the PATH that flows.process gives and without the caller's settings.

    The peak is that of the largest process of the command, and never less than this one's, about 100 MiB.
    """
    kept = {key: value for key, value in os.environ.items() if not re.match("ATELIER_|DVC_|MLFLOW_|PREFECT_", key)}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    env = {**kept, "PATH": path, "PYTHONPATH": str(folder), "PYTHONUNBUFFERED": "1"}
    with TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    if process.returncode:
        sys.exit(f"error: {shlex.join(command)}: exit status {process.returncode}, and at its end\n{text[-3000:]}")
    per_mib = 1024**2 if sys.platform == "darwin" else 1024  # Linux counts in KiB
    return Measured(seconds, usage.ru_maxrss / per_mib, text)


def make_clone(folder: Path, changes: Changes) -> Path:
    """Return `folder` as a new repository of this working tree's files, with changes in params.yaml."""
    shutil.rmtree(folder, ignore_errors=True)
    listed = run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], ROOT).output
    for name in listed.split("\0"):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    params = yaml.safe_load((folder / "params.yaml").read_text("utf-8"))
    for section, values in changes.items():
        params[section] |= values
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), "utf-8")
    (folder / ".cache").mkdir(exist_ok=True)
    if (ROOT / ".cache/usr").exists():  # Debian's package of the data, where it could not be installed
        (folder / ".cache/usr").symlink_to(ROOT / ".cache/usr")
    run(["git", "init", "--quiet"], folder)
    run(["git", "add", "--all"], folder)
    who = ["-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost", "-c", "commit.gpgsign=false"]
    run(["git", *who, "commit", "--quiet", "--no-verify", "--message", "begin"], folder)
    return folder


def make_peers(folder: Path, *, tasks: int) -> Path:
    """Return `folder` with a DVC graph of one stage and a flow of tasks that do nothing, set up as this project is."""
    folder.mkdir()
    run(["git", "init", "--quiet"], folder)
    run(["dvc", "init", "--quiet"], folder)
    shutil.copy(ROOT / ".dvc/config", folder / ".dvc/config")
    shutil.copy(ROOT / "pyproject.toml", folder)  # Prefect's settings, among them PREFECT_HOME, .prefect in the folder
    (folder / "dvc.yaml").write_text(yaml.safe_dump(TRIVIAL_GRAPH), "utf-8")
    (folder / "trivial.py").write_text(TRIVIAL_FLOW.format(tasks=tasks), "utf-8")
    return folder


def read_graph(folder: Path) -> Graph:
    """Return the command of every stage of dvc.yaml by its name, in an order in which they can run."""
    from dvc.repo import Repo

    from flows import graph

    with chdir(folder):
        stages = graph.read(logging.getLogger(__name__))
        with Repo() as repo:
            commands = {stage.addressing: shlex.split(str(stage.cmd)) for stage in repo.index.stages}
    return {stage.name: commands[stage.name] for stage in stages}


def run_plainly(graph: str) -> None:
    """Call the `main` of every stage of a graph, given as JSON, in this process, and time each in seconds."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    seconds: dict[str, float] = {}
    for name, words in json.loads(graph).items():
        start = time.perf_counter()
        module = words.index("-m") + 1
        importlib.import_module(words[module]).main(*map(Path, words[module + 1 :]))
        seconds[name] = time.perf_counter() - start
    Path(STEPS).write_text(json.dumps(seconds), "utf-8")


def measure_runs(graph: Graph, scratch: Path, changes: Changes, repeat: int) -> str:
    """Return the tables of the stages and of the drivers, all from nothing; the flow's last clone stays."""
    plain = [sys.executable, "-c", PLAIN_SCRIPT, json.dumps(graph)]
    drivers = {PLAIN: plain, DVC: DVC.split(), FLOW: FLOW.split()}
    stages: dict[str, list[Measured]] = {name: [] for name in graph}
    steps: dict[str, list[float]] = {name: [] for name in graph}
    full: dict[str, list[Measured]] = {name: [] for name in drivers}
    for number in range(1, repeat + 1):
        clone = make_clone(scratch / "stages", changes)
        for name, command in graph.items():
            tell(f"{number} of {repeat}: {name}")
            stages[name].append(run(command, clone))
        for driver, command in drivers.items():
            tell(f"{number} of {repeat}: {driver} from nothing")
            clone = make_clone(scratch / driver.replace(" ", "-"), changes)
            full[driver].append(run(command, clone))
            if driver == PLAIN:
                for name, seconds in json.loads((clone / STEPS).read_text("utf-8")).items():
                    steps[name].append(seconds)
    return (
        f"## Stages\n\n{describe_stages(stages, steps)}\n## Drivers, from nothing\n\n{describe_drivers(stages, full)}"
    )


def describe_stages(stages: Mapping[str, list[Measured]], steps: Mapping[str, list[float]]) -> str:
    """Return the table of the stages, in seconds and MiB."""
    own = {name: median(each.seconds for each in runs) for name, runs in stages.items()}
    plain = {name: median(seconds) for name, seconds in steps.items()}
    peaks = {name: max(each.peak_mib for each in runs) for name, runs in stages.items()}
    rows = [(name, own[name], plain[name], f"{peaks[name]:.0f}", peaks[name] < STAGE_MIB) for name in stages]
    columns = ("stage", "own process, s", "step of the plain script, s", "peak memory, MiB", "below 3 GiB")
    return draw(columns, [*rows, ("all", sum(own.values()), sum(plain.values()), "", "")])


def describe_drivers(stages: Mapping[str, list[Measured]], full: Mapping[str, list[Measured]]) -> str:
    """Return the table of full runs, in seconds and as ratios to the plain script."""
    training = sum(median(each.seconds for each in runs) for runs in stages.values() if runs[0].epochs)
    total = {driver: median(each.seconds for each in runs) for driver, runs in full.items()}
    other = {driver: median(each.seconds - sum(each.epochs) for each in runs) for driver, runs in full.items()}
    rows = [
        (name, total[name], f"{total[name] / total[PLAIN]:.2f}", total[name] - training, other[name],
         other[name] <= OTHER_SECONDS)
        for name in full
    ]  # fmt: skip
    columns = ("driver", "total, s", "ratio", "less the training stage, s", "less the epochs, s", "within 60 s")
    return (
        f"{draw(columns, rows)}\n"
        f"Less the training stage: the total less {training:.1f} s, its own process above. Less the epochs: the total "
        "less what Keras says, in that very run, that it spent in epochs; so the import of TensorFlow, the export and "
        f"its proof are not training. The promise of {OTHER_SECONDS} s is held against the latter.\n"
    )


def measure_idle(clone: Path, peers: Path) -> str:
    """Return the table of both drivers with nothing to do, each in turn with its tool's own start, in seconds."""
    rows: list[Sequence[object]] = []
    for driver, peer, command, promise in (
        (DVC, "dvc repro of one unchanged stage", DVC.split(), DVC_SECONDS),
        (FLOW, "Prefect flow of as many empty tasks", [sys.executable, "trivial.py"], FLOW_SECONDS),
    ):
        tell(f"uncounted: {driver} with nothing to do, {peer}")
        run(driver.split(), clone)
        run(command, peers)
        pairs: list[tuple[float, float]] = []
        for number in range(1, IDLE_RUNS + 1):
            tell(f"{number} of {IDLE_RUNS}: {driver} with nothing to do, {peer}")
            pairs.append((run(driver.split(), clone).seconds, run(command, peers).seconds))
        own, other = (median(seconds) for seconds in zip(*pairs, strict=True))
        rows.append((driver, own, peer, other, own - other, f"{own / other:.2f}", promise, own - other <= promise))
    columns = ("driver", "s", "peer", "s", "difference, s", "ratio", "at most, s", "kept")
    return f"## Nothing to do\n\nMedians of {IDLE_RUNS}, driver and peer in turn.\n\n{draw(columns, rows)}"


def describe_machine() -> str:
    """Return when, on what and with what this is measured."""
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", cpuinfo.read_text("utf-8")) if cpuinfo.exists() else None
    processor = found[1] if found else platform.processor()
    memory = psutil.virtual_memory().total / 1024**3
    software = [f"{name} {version(name)}" for name in ("tensorflow", "prefect", "dvc", "mlflow")]
    return (
        f"{time.strftime('%Y-%m-%d %H:%M')}, {processor}, {os.cpu_count()} cores, {memory:.1f} GiB, load "
        f"{os.getloadavg()[0]:.1f} at the start. Python {platform.python_version()}, {', '.join(software)}."
    )


def draw(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table: floats with one decimal, booleans as yes and NO."""
    table = Table(box=box.MARKDOWN)
    for column in columns:
        table.add_column(column)
    for row in rows:
        texts = [("yes" if cell else "**NO**") if isinstance(cell, bool) else cell for cell in row]
        table.add_row(*(f"{text:.1f}" if isinstance(text, float) else str(text) for text in texts))
    drawn = StringIO()
    Console(file=drawn, width=1000).print(table)
    return "".join(f"{line}\n" for line in map(str.rstrip, drawn.getvalue().splitlines()) if line)


def tell(progress: str) -> None:
    """Show progress on standard error."""
    print(time.strftime("%H:%M:%S"), progress, file=sys.stderr, flush=True)


def main(epochs: int = 1, repeat: int = 1, quick: bool = False, output: Path | None = None) -> None:
    """Measure the stages and both drivers on Fashion-MNIST in clones of this project; print Markdown.

    EPOCHS are trained. Full runs are repeated REPEAT times, and medians shown. QUICK takes 2,000 images of each
    split, a tenth for validation. OUTPUT is a file to write as well.
    """
    changes: dict[str, dict[str, object]] = {"train": {"epochs": epochs}}
    if quick:
        changes |= {"ingest": {"limit": 2000}, "normalize": {"validation": 0.1}}
    machine = describe_machine()
    with TemporaryDirectory(prefix="atelier-bench-", ignore_cleanup_errors=True) as folder:
        scratch = Path(folder).resolve()
        tell("warming up")
        run([sys.executable, "-c", f"import {HEAVY}"], scratch)
        graph = read_graph(make_clone(scratch / "stages", changes))
        runs = measure_runs(graph, scratch, changes, repeat)
        idle = measure_idle(scratch / FLOW.replace(" ", "-"), make_peers(scratch / "peers", tasks=len(graph)))
    settings = f"Fashion-MNIST{', 2,000 images of each split' if quick else ''}; epochs: {epochs}; runs: {repeat}."
    text = f"{machine}\n{settings} The heavy libraries were imported once, uncounted.\n\n{runs}\n{idle}"
    print(text)
    if output:
        output.write_text(text, "utf-8")


if __name__ == "__main__":
    import typer

    typer.run(main)
