"""The command `atelier`: what a person does with the pipeline."""

import logging
import runpy
import sys

import typer

from components import sources
from components.errors import AtelierError

app = typer.Typer(help="Retrain, check, register and serve an image classifier.", no_args_is_help=True)


@app.command()
def run() -> None:
    """Bring every stage up to date as one Prefect flow, and print the report. Same as python -m flows.training."""
    runpy.run_module("flows.training", run_name="__main__", alter_sys=True)


@app.command()
def data() -> None:
    """Make sure that Fashion-MNIST is on this machine: a local copy, else Keras' download."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
    logging.getLogger("components").setLevel(logging.INFO)
    try:
        sources.fashion_mnist_folder()
    except AtelierError as error:
        sys.exit(f"error: {error}")


@app.command()
def ui() -> None:
    """Start the UIs of MLflow and Prefect on this machine, and open them."""
    runpy.run_module("flows.ui", run_name="__main__", alter_sys=True)


@app.command()
def schedule(
    cron: str = typer.Option("0 3 * * 1", help="when to retrain: minute, hour, day, month, weekday"),
) -> None:
    """Retrain on a schedule, by the Prefect server that PREFECT_API_URL names."""
    sys.argv = ["atelier schedule", cron]
    runpy.run_module("flows.schedule", run_name="__main__", alter_sys=True)
