"""The UIs of MLflow and Prefect, side by side on this machine, over the embedded stores."""

import os
import signal
import socket
import subprocess
import sys
import webbrowser
from pathlib import Path

from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from flows import process

HOST = "127.0.0.1"
PATIENCE_SECONDS = 120  # for a server to answer, from cold


def servers() -> dict[str, tuple[int, list[str]]]:
    """Return, by name, the port of each UI and the command that serves it."""
    beside = Path(sys.executable).parent
    mlflow, prefect = (
        int(os.environ.get(name, port)) for name, port in (("MLFLOW_PORT", 5000), ("PREFECT_PORT", 4200))
    )
    store = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path('mlruns/mlflow.db').absolute()}"
    return {
        "MLflow": (
            mlflow,
            [
                f"{beside}/mlflow",
                "server",
                "--host",
                HOST,
                "--port",
                str(mlflow),
                "--workers",
                "1",
                "--backend-store-uri",
                store,
            ],
        ),
        "Prefect": (
            prefect,
            [f"{beside}/prefect", "server", "start", "--host", HOST, "--port", str(prefect)],
        ),
    }


def answers(port: int) -> bool:
    """Return whether something listens on the port."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def main() -> None:
    """Start both, print and open their addresses once they answer, and end both on Ctrl-C."""
    for told in (signal.SIGINT, signal.SIGTERM):
        signal.signal(told, signal.default_int_handler)
    wanted = servers()
    taken = [f"{name} {port}" for name, (port, _) in wanted.items() if answers(port)]
    if taken:
        sys.exit(f"error: expected free ports, received {', '.join(taken)} in use; set MLFLOW_PORT or PREFECT_PORT")
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    logs = Path(".cache")
    logs.mkdir(exist_ok=True)
    running: list[subprocess.Popen[bytes]] = []
    try:
        for name, (_, command) in wanted.items():
            with (logs / f"{name.lower()}.log").open("wb") as output:
                server = subprocess.Popen(  # noqa: S603 - our own words
                    command, stdout=output, stderr=subprocess.STDOUT, env=os.environ | quiet, start_new_session=True
                )
            running.append(server)
        for (name, (port, _)), server in zip(wanted.items(), running, strict=True):
            wait_for(name, port, server, logs / f"{name.lower()}.log")
            sys.stdout.write(f"{name:8} http://{HOST}:{port}\n")
            webbrowser.open(f"http://{HOST}:{port}")
        sys.stdout.write("Ctrl-C ends both\n")
        sys.stdout.flush()
        for server in running:
            server.wait()
    except KeyboardInterrupt:
        pass
    finally:
        for server in running:
            process.end(server)


def wait_for(name: str, port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    """Return when the port answers; end with one line if the server ends or never does."""
    try:
        for attempt in Retrying(
            stop=stop_after_delay(PATIENCE_SECONDS),
            wait=wait_fixed(0.2),
            retry=retry_if_exception_type(OSError),
        ):
            with attempt:
                if server.poll() is not None:
                    sys.exit(f"error: {name} ended by itself; {log} says why")
                if not answers(port):
                    raise ConnectionRefusedError
    except RetryError:
        sys.exit(f"error: {name} does not answer on port {port} after {PATIENCE_SECONDS} s; {log} may say why")


if __name__ == "__main__":
    main()
