"""What runs for long: both UIs, and the schedule, as processes that a person starts and ends."""

import json
import os
import signal
import socket
import urllib.request
from collections.abc import Iterator

import pytest
from tenacity import retry, stop_after_delay, wait_fixed

from tests.conftest import Project, make_project


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, str, str]]:
    """Yield a project whose UIs run, and the addresses of MLflow's and Prefect's, as `atelier ui` printed them."""
    project = make_project(tmp_path_factory.mktemp("ui") / "project")
    ports = {"MLFLOW_PORT": free_port(), "PREFECT_PORT": free_port()}
    with project.start("atelier", "ui", **ports) as process:
        assert process.stdout is not None
        printed = dict(process.stdout.readline().split() for _ in range(2))
        yield project, printed["MLflow"], printed["Prefect"]
        os.killpg(process.pid, signal.SIGINT)
        assert "Traceback" not in process.communicate(timeout=60)[0]
    assert process.returncode == 0


def post(address: str, question: dict[str, object]) -> object:
    body = json.dumps(question).encode()
    request = urllib.request.Request(address, data=body, headers={"Content-Type": "application/json"})  # noqa: S310
    return json.loads(urllib.request.urlopen(request, timeout=10).read())  # noqa: S310 - our own address


def test_both_uis_answer_where_they_say(servers: tuple[Project, str, str]) -> None:
    for address in servers[1:]:
        assert b"<html" in urllib.request.urlopen(address, timeout=30).read().lower()  # noqa: S310 - our own address


def test_taken_ports_are_told(servers: tuple[Project, str, str]) -> None:
    project, mlflow, prefect = servers
    ports = {"MLFLOW_PORT": mlflow.rpartition(":")[2], "PREFECT_PORT": prefect.rpartition(":")[2]}
    done = project.run("atelier", "ui", **ports)
    assert done.returncode == 1
    assert done.stdout.startswith("error: expected free ports")


def test_the_server_plans_the_runs_of_the_schedule(servers: tuple[Project, str, str]) -> None:
    project, _, prefect = servers
    api = {"PREFECT_API_URL": f"{prefect}/api"}
    with project.start("atelier", "schedule", "--cron", "0 3 * * 1", **api) as process:

        @retry(wait=wait_fixed(0.5), stop=stop_after_delay(90), reraise=True)
        def planned() -> None:
            runs = post(f"{prefect}/api/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}})
            assert isinstance(runs, list)
            assert runs
            assert all("T03:00:00" in run["expected_start_time"] for run in runs)

        try:
            planned()
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.communicate(timeout=60)


@pytest.mark.parametrize(("cron", "api"), [("nonsense", "http://127.0.0.1:9/api"), ("0 3 * * 1", "")])
def test_a_schedule_that_cannot_be_is_one_line(servers: tuple[Project, str, str], cron: str, api: str) -> None:
    done = servers[0].run("atelier", "schedule", "--cron", cron, **({"PREFECT_API_URL": api} if api else {}))
    assert done.returncode == 1
    assert "error: " in done.stdout
    assert "Traceback" not in done.stdout


def test_the_command_line_has_help_that_a_person_can_read(servers: tuple[Project, str, str]) -> None:
    printed = servers[0].ok("atelier", "--help")
    assert all(command in printed for command in ("run", "data", "ui", "schedule"))
