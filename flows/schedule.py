"""Retraining on a schedule: the flow `training` as a deployment that this process serves."""

import sys

from prefect.settings import PREFECT_API_URL
from pydantic import ValidationError

from flows.training import training


def main(cron: str) -> None:
    """Serve the deployment `training/scheduled` until Ctrl-C; the Prefect server says when it runs."""
    if not PREFECT_API_URL.value():
        sys.exit(
            "error: expected PREFECT_API_URL to name a Prefect server, since only a server has a scheduler, received "
            "none; run `make ui` in another terminal and set PREFECT_API_URL=http://127.0.0.1:4200/api"
        )
    try:
        training.serve(name="scheduled", cron=cron, limit=1)
    except ValidationError as error:
        sys.exit(f"error: --cron: {error.errors()[0]['msg']}; an example that works is '0 3 * * 1', Mondays at three")


if __name__ == "__main__":
    main(sys.argv[1])
