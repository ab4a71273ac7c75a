"""A stage as a command: one line and the right exit status for what a person can act on, a traceback for a defect."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

STAGE = """
import errno, os, signal
from pathlib import Path
from components import errors, stage

def main(raw: Path, reports: Path) -> None:
    print("working")
    {body}

if __name__ == "__main__":
    stage.run(main)
"""


def run(folder: Path, body: str, *paths: str) -> subprocess.CompletedProcess[str]:
    """Run a stage of that body as a command."""
    (folder / "tiny.py").write_text(STAGE.format(body=body), "utf-8")
    command = [sys.executable, "tiny.py", *(paths or ("data/raw", "reports"))]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_stage_that_succeeds_is_silent_on_standard_error(tmp_path: Path) -> None:
    done = run(tmp_path, "print(raw.name, reports.name, type(raw).__module__)")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["working", "raw reports pathlib"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ("AtelierError", 1),
        ("ParamsError", 1),
        ("DataError", 1),
        ("ValidationError", 1),
        ("NetworkError", 1),
        ("BundleError", 1),
        ("TransientError", 75),
    ],
)
def test_error_of_the_input_is_one_line_and_its_status(tmp_path: Path, error: str, status: int) -> None:
    done = run(tmp_path, f"raise errors.{error}('a: expected b, received c; do d') from ValueError('cause')")
    assert done.returncode == status
    assert done.stderr == "error: tiny: a: expected b, received c; do d\n"
    assert done.stdout == "working\n"


def test_error_of_several_lines_is_told_in_one(tmp_path: Path) -> None:
    done = run(tmp_path, r"raise errors.DataError('a file by\nthe name of\r\ntwo lines')")
    assert done.stderr == "error: tiny: a file by the name of two lines\n"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("Path('nowhere/params.yaml').read_text()", "No such file or directory: nowhere/params.yaml"),
        ("os.mkdir('tiny.py')", "File exists: tiny.py"),
        ("raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))", "No space left on device"),
        ("raise OSError('cannot read the sectors')", "cannot read the sectors"),
    ],
)
def test_error_of_the_machine_is_one_line_too(tmp_path: Path, body: str, said: str) -> None:
    done = run(tmp_path, body)
    assert done.returncode == 1
    assert done.stderr == f"error: tiny: {said}; put that right and run again\n"


@pytest.mark.parametrize("paths", [("one",), ("one", "two", "three")])
def test_wrong_number_of_paths_names_those_that_are_expected(tmp_path: Path, paths: tuple[str, ...]) -> None:
    done = run(tmp_path, "pass", *paths)
    assert done.returncode == 2
    assert done.stderr == (
        f"error: tiny: expected RAW REPORTS, received {len(paths)} paths; dvc.yaml has the whole command\n"
    )
    assert done.stdout == ""


def test_defect_keeps_its_traceback(tmp_path: Path) -> None:
    done = run(tmp_path, "raise KeyError('digest')")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "KeyError: 'digest'" in done.stderr
    assert "error: tiny" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_is_one_line(tmp_path: Path, number: signal.Signals) -> None:
    done = run(tmp_path, f"os.kill(os.getpid(), signal.{number.name}); signal.pause()")
    assert done.returncode == 130
    assert done.stderr == "error: tiny: interrupted; run again to go on\n"


def test_interrupted_stage_cleans_up_after_itself(tmp_path: Path) -> None:
    body = """
    from components import files
    with files.new_folder(reports) as new:
        (new / "half").touch()
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    """
    done = run(tmp_path, body)
    assert done.returncode == 130
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny.py"]


def test_stage_of_the_project_goes_by_its_own_name(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "components.normalize", "a", "b", "c"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: normalize: expected params.yaml in ")
    assert done.stderr.count("\n") == 1
