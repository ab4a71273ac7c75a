"""The flow on small graphs of its own: it knows no stage by name, so any graph will do."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from tenacity import retry, stop_after_delay, wait_fixed

from components.errors import AtelierError, ParamsError
from flows import graph, process
from flows.training import failure, training
from tests.conftest import ROOT

CHAIN = {
    "first": {"cmd": "cat source > a", "deps": ["source"], "outs": ["a"], "meta": {"timeout_seconds": 60}},
    "second": {"cmd": "cat a > b", "deps": ["a"], "outs": ["b"], "meta": {"timeout_seconds": 60}},
    "third": {"cmd": "cat b > c", "deps": ["b"], "outs": ["c"], "meta": {"timeout_seconds": 60}},
}
QUICK = {"timeout_seconds": 60}


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Go to a DVC workspace with the shipped params.yaml and no graph yet."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text("[core]\nno_scm = true\nanalytics = false\ncheck_update = false\n", "utf-8")
    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    (tmp_path / "source").write_text("1\n", "utf-8")
    return tmp_path


def stages(graph_of: dict[str, object]) -> None:
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": graph_of}, sort_keys=False), "utf-8")


def run() -> State:
    return training(return_state=True)


def task_states(state: State) -> dict[str, str]:
    """Return by task name how the tasks of a flow run ended, from Prefect's server."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    with get_client(sync_client=True) as client:
        mine = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
        return {run.name: run.state.name for run in client.read_task_runs(flow_run_filter=mine)}


@retry(wait=wait_fixed(0.2), stop=stop_after_delay(20), reraise=True)
def expect_tasks(state: State, expected: dict[str, str]) -> None:
    """Wait until the server has heard of all task states: their events arrive a moment after the flow's end."""
    assert task_states(state) == expected


def test_every_stage_is_a_task_of_its_name_and_an_unchanged_one_starts_no_process(
    workspace: Path, prefect_server: str
) -> None:
    del prefect_server
    stages(CHAIN)
    expect_tasks(run(), dict.fromkeys(CHAIN, "Completed"))
    again = run()
    assert again.is_completed()
    expect_tasks(again, dict.fromkeys(CHAIN, "Unchanged"))
    (workspace / "source").write_text("2\n", "utf-8")
    expect_tasks(run(), dict.fromkeys(CHAIN, "Completed"))
    assert (workspace / "c").read_text("utf-8") == "2\n"


def test_stages_run_in_the_order_of_the_graph_and_not_of_the_file(workspace: Path, prefect_server: str) -> None:
    del prefect_server
    stages({name: CHAIN[name] for name in ("third", "first", "second")})
    assert [stage.name for stage in graph.read(graph_log())] == ["first", "second", "third"]
    assert run().is_completed()
    assert (workspace / "c").exists()


def test_the_first_failure_ends_the_flow_with_the_stages_own_line(workspace: Path, prefect_server: str) -> None:
    del prefect_server
    failing = {**CHAIN["second"], "cmd": "echo 'error: second: expected a, received b; mend it'; exit 1"}
    stages(CHAIN | {"second": failing})
    state = run()
    assert state.is_failed()
    assert state.message == "second: expected a, received b; mend it"
    expect_tasks(state, {"first": "Completed", "second": "Failed"})
    assert not (workspace / "c").exists()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["Epoch 1", "error: train: expected a, received b", "ERROR: failed to run"], "train: expected a, received b"),
        (["Epoch 1", "ERROR: failed to run: x"], "failed to run: x"),
        (["Killed: 9"], "Killed: 9"),
        ([], "train ended without a word; was it killed, for want of memory?"),
    ],
)
def test_a_failure_is_told_by_the_best_line_there_is(lines: list[str], message: str) -> None:
    stage = graph.Stage("train", frozenset(), changed=True, meta=graph.Meta(timeout_seconds=1))
    assert failure(stage, lines).message == message


def test_a_stage_is_tried_again_when_the_reason_may_pass(workspace: Path, prefect_server: str) -> None:
    del prefect_server
    meta = QUICK | {"retries": 2, "retry_delay_seconds": [1, 1]}
    stages({"download": {"cmd": "echo x >> tries; test $(wc -l < tries) -ge 3 || exit 75", "meta": meta}})
    state = run()
    assert state.is_completed()
    assert (workspace / "tries").read_text("utf-8").count("x") == 3


@pytest.mark.parametrize(("status", "retries", "tries"), [(1, 3, 1), (75, 0, 1), (75, 1, 2)])
def test_a_stage_is_not_tried_more_often_than_makes_sense(
    workspace: Path, prefect_server: str, status: int, retries: int, tries: int
) -> None:
    del prefect_server
    meta = QUICK | {"retries": retries, "retry_delay_seconds": [1]}
    stages({"download": {"cmd": f"echo x >> tries; exit {status}", "meta": meta}})
    assert run().is_failed()
    assert (workspace / "tries").read_text("utf-8").count("x") == tries


def test_a_stage_that_takes_too_long_is_ended_with_all_its_children(workspace: Path, prefect_server: str) -> None:
    del prefect_server
    stages({"slow": {"cmd": "sleep 987 & echo $! > child; wait", "meta": {"timeout_seconds": 4}}})
    state = run()
    assert state.is_failed()
    assert "limit of 4 s" in (state.message or "")
    assert not runs(int((workspace / "child").read_text("utf-8")))


def test_a_stages_report_becomes_an_artifact_and_the_flows_result(workspace: Path, prefect_server: str) -> None:
    del prefect_server, workspace
    stages({"last": {"cmd": "echo '# It went well' > report.md", "meta": QUICK | {"report": "report.md"}}})
    state = run()
    assert state.result() == "# It went well\n"
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["last-report"])))
    assert [artifact.data for artifact in found if artifact.flow_run_id == state.state_details.flow_run_id] == [
        "# It went well\n"
    ]


def test_the_flow_run_is_known_to_the_stage(workspace: Path, prefect_server: str) -> None:
    del prefect_server
    stages({"asks": {"cmd": "echo $ATELIER_FLOW_RUN > who", "meta": QUICK}})
    state = run()
    assert (workspace / "who").read_text("utf-8").strip() == str(state.state_details.flow_run_id)


def test_a_misspelt_parameter_ends_the_flow_before_any_stage(workspace: Path, prefect_server: str) -> None:
    del prefect_server
    text = (workspace / "params.yaml").read_text("utf-8")
    (workspace / "params.yaml").write_text(text.replace("batch_size: 128", "batchsize: 128"), "utf-8")
    stages(CHAIN)
    state = run()
    assert state.is_failed()
    assert "unknown parameter train.batchsize; did you mean batch_size?" in (state.message or "")
    assert not (workspace / "a").exists()


def runs(pid: int) -> bool:
    """Return whether a process is alive: one that has ended, and whose parent has not asked yet, is not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def graph_log() -> object:
    import logging

    return logging.getLogger("tests")


@pytest.mark.parametrize(
    ("meta", "said"),
    [({"timeout": 3}, "stages.first.meta"), ({"timeout_seconds": 0}, "timeout_seconds"), ({}, "timeout_seconds")],
)
def test_a_wrong_meta_is_named(workspace: Path, meta: dict[str, object], said: str) -> None:
    del workspace
    stages({"first": {"cmd": "true", "meta": meta}})
    with pytest.raises(ParamsError, match=said):
        graph.read(graph_log())


def test_a_graph_that_dvc_cannot_read_is_one_line(workspace: Path) -> None:
    (workspace / "dvc.yaml").write_text("stages:\n  first:\n    cmdd: true\n", "utf-8")
    with pytest.raises(AtelierError, match=r"dvc\.yaml") as raised:
        graph.read(graph_log())
    assert "\n" not in str(raised.value)


def test_the_flow_waits_while_dvc_is_at_work(workspace: Path, prefect_server: str) -> None:
    del prefect_server
    slow = {**CHAIN["first"], "cmd": "touch began; while [ ! -e go ]; do sleep 0.1; done; cat source > a"}
    stages(CHAIN | {"first": slow})
    dvc = subprocess.Popen([sys.executable, "-m", "dvc", "repro", "--quiet"], cwd=workspace)
    try:
        appears(workspace / "began")
        (workspace / "waiter.py").write_text(
            "import logging, pathlib\nfrom flows import graph\n"
            "class Tell(logging.Handler):\n    def emit(self, record): pathlib.Path('waits').touch()\n"
            "log = logging.getLogger('x'); log.addHandler(Tell())\n"
            "print([stage.changed for stage in graph.read(log)])\n",
            "utf-8",
        )
        env = os.environ | {"PYTHONPATH": str(ROOT)}
        waiter = subprocess.Popen(
            [sys.executable, "waiter.py"], cwd=workspace, env=env, stdout=subprocess.PIPE, text=True
        )
        appears(workspace / "waits")
        (workspace / "go").touch()
        assert waiter.communicate(timeout=60)[0].strip() == "[False, False, False]"
    finally:
        (workspace / "go").touch()
        assert dvc.wait(60) == 0


@retry(wait=wait_fixed(0.05), stop=stop_after_delay(60), reraise=True)
def appears(path: Path) -> None:
    assert path.exists()


def test_a_childs_lines_arrive_while_it_runs(tmp_path: Path) -> None:
    seen: list[str] = []

    def on_line(line: str) -> None:
        seen.append(line)
        (tmp_path / line).touch()  # the child goes on once it sees that its line was seen

    code = "for n in a b; do echo $n; while [ ! -e $n ]; do sleep 0.05; done; done"
    status = process.run(["sh", "-c", f"cd {tmp_path}; {code}"], timeout_seconds=30, env={}, on_line=on_line)
    assert (status, seen) == (0, ["a", "b"])


def test_an_interrupted_parent_ends_the_whole_group() -> None:
    code = (
        "from flows import process\n"
        "process.run(['sh', '-c', 'sleep 986 & echo $!; wait'], timeout_seconds=60, env={}, "
        "on_line=lambda line: print(line, flush=True))"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.send_signal(signal.SIGINT)
        assert parent.wait(60) != 0
    assert not runs(child)
