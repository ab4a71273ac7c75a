"""The flow `training`: every stage of dvc.yaml as a task of its own, run by DVC in a child process."""

import os
import re
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from rich.console import Console
from rich.markdown import Markdown

from components import params
from components.errors import AtelierError, TransientError
from flows import graph, process
from flows.graph import Stage

LOCK = Path(".cache/training.lock")
TRANSIENT = "Transient"  # the name of a failed state that a retry may mend


def may_pass(_task: object, _run: TaskRun, state: State[None]) -> bool:
    """Return whether a stage failed for a reason that may pass."""
    return state.name == TRANSIENT


@task(cache_policy=NO_CACHE, retry_condition_fn=may_pass)
def run_stage(stage: Stage) -> State[None]:
    """Run one stage by DVC, its output line by line in the log, and return how it ended."""
    log = get_run_logger()
    lines: list[str] = []

    def on_line(line: str) -> None:
        lines.append(line)
        log.info("%s", line)

    status = process.run(
        [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", stage.name],
        timeout_seconds=stage.meta.timeout_seconds,
        env={"ATELIER_FLOW_RUN": str(flow_run.id or "")},
        on_line=on_line,
    )
    if status is None:
        return Failed(message=f"{stage.name}: ended at its limit of {stage.meta.timeout_seconds} s, see dvc.yaml")
    if status:
        return failure(stage, lines)
    return Completed(message=f"{stage.name} is up to date")


def failure(stage: Stage, lines: list[str]) -> State[None]:
    """Return the failed state of a stage that printed `lines`: its own one line of error, or else DVC's."""
    ours = [line for line in lines if line.startswith("error: ")]
    theirs = [line for line in lines if line.startswith("ERROR: ")]
    last = (ours or theirs or lines or [f"{stage.name} ended without a word; was it killed, for want of memory?"])[-1]
    sentence = last.removeprefix("error: ").removeprefix("ERROR: ")
    exits = re.findall(r"exited with (\d+)", "\n".join(theirs))
    transient = exits[-1:] == [str(TransientError.exit_status)] and stage.meta.retries > 0
    return Failed(name=TRANSIENT if transient else "Failed", message=sentence)


@flow(name="training")
def training() -> str | State[None]:
    """Bring every stage up to date, in order, and return the run's report; the first failure ends the flow."""
    log = get_run_logger()
    with alone():
        try:
            params.load()
            stages = graph.read(log)
        except AtelierError as error:
            return Failed(message=str(error))
        ran: set[str] = set()
        for stage in stages:
            if not stage.changed and not stage.upstream & ran:
                named = unchanged.with_options(name=stage.name, task_run_name=stage.name)
            else:
                ran.add(stage.name)
                # A task with no retry at all logs a failure twice; `may_pass` decides whether there is one.
                named = run_stage.with_options(
                    name=stage.name,
                    task_run_name=stage.name,
                    retries=max(1, stage.meta.retries),
                    retry_delay_seconds=[float(delay) for delay in stage.meta.retry_delay_seconds],
                )
            state = named(stage, return_state=True)
            if not state.is_completed():
                return Failed(message=state.message)
    return publish_reports(stages)


@task(cache_policy=NO_CACHE)
def unchanged(stage: Stage) -> State[None]:
    """End at once: DVC's status says that there is nothing to do."""
    return Completed(name="Unchanged", message=f"{stage.name} has nothing to do")


@contextmanager
def alone() -> Generator[None]:
    """Hold this workspace's lock; the operating system lets go of it if the process dies."""
    lock = FileLock(LOCK)
    LOCK.parent.mkdir(exist_ok=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        get_run_logger().warning("another training holds this workspace; waiting for it to end")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def publish_reports(stages: list[Stage]) -> str:
    """Leave the reports of all stages as Prefect artifacts, and return their text."""
    texts: list[str] = []
    for stage in stages:
        if stage.meta.report is not None:
            texts.append(Path(stage.meta.report).read_text("utf-8"))
            create_markdown_artifact(texts[-1], key=f"{stage.name}-report", description=f"Report of {stage.name}")
    return "\n".join(texts)


def out_of_reach_of_ctrl_c() -> None:
    """Go on in a process of another session, to which this one hands Ctrl-C and SIGTERM.

    A terminal sends Ctrl-C to all processes of its foreground group, and so to the temporary server that
    Prefect starts: without it, a flow takes minutes and many tracebacks to end.
    """
    child = os.fork()
    if child == 0:
        os.setsid()
        for told in (signal.SIGINT, signal.SIGTERM):
            signal.signal(told, signal.default_int_handler)
        return
    for told in (signal.SIGINT, signal.SIGTERM):
        signal.signal(told, lambda number, _: os.kill(child, number))
    _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))


def main() -> None:
    """Run the flow here and now, print its report, and end with its exit status."""
    out_of_reach_of_ctrl_c()
    try:
        state = training(return_state=True)
    except KeyboardInterrupt:
        sys.exit("error: interrupted; run again to go on")
    if not state.is_completed():
        sys.exit(f"error: {state.message}")
    Console().print(Markdown(str(state.result())))


if __name__ == "__main__":
    main()
