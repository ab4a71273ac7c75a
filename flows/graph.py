"""The graph of stages as DVC knows it: their order, what has changed, and what `meta` says of each."""

import logging
from dataclasses import dataclass

import networkx as nx
from dvc.exceptions import DvcException
from dvc.lock import LockError
from dvc.repo import Repo
from pydantic import Field, ValidationError
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_fixed

from components.errors import AtelierError, ParamsError
from components.params import Count, Section


class Meta(Section):
    """What a stage's `meta:` in dvc.yaml may say; `report` is a Markdown file that it writes."""

    timeout_seconds: Count
    retries: int = Field(0, ge=0)
    retry_delay_seconds: list[Count] = Field(default_factory=list)
    report: str | None = None


@dataclass(frozen=True)
class Stage:
    """A stage of dvc.yaml, the stages whose outputs it reads, and whether it has anything to do."""

    name: str
    upstream: frozenset[str]
    changed: bool
    meta: Meta


def read(log: logging.Logger | logging.LoggerAdapter[logging.Logger]) -> list[Stage]:
    """Return all stages in an order in which they can run; one look at DVC's status says what has changed.

    While another DVC command is at work this waits, and says so. AtelierError tells what is wrong with dvc.yaml.
    """

    def waiting(attempt: RetryCallState) -> None:
        if attempt.attempt_number == 1:
            log.warning("another DVC command is at work in this workspace; waiting for it to end")

    busy = Retrying(retry=retry_if_exception_type(LockError), wait=wait_fixed(2), before_sleep=waiting, reraise=True)
    try:
        return busy(_read)
    except DvcException as error:
        raise AtelierError(f"dvc.yaml: {' '.join(str(error).split())}; `dvc repro` tells more") from error


def _read() -> list[Stage]:
    with Repo() as repo:
        changed = repo.status()
        graph = repo.index.graph  # an edge leads from a stage to one whose output it reads
        return [
            Stage(
                name=stage.addressing,
                upstream=frozenset(needed.addressing for needed in graph.successors(stage)),
                changed=stage.addressing in changed,
                meta=_meta(stage.addressing, stage.meta),
            )
            for stage in reversed(list(nx.lexicographical_topological_sort(graph, key=lambda each: each.addressing)))
        ]


def _meta(name: str, value: dict[str, object] | None) -> Meta:
    try:
        return Meta.model_validate(value or {})
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise ParamsError(f"dvc.yaml: stages.{name}.meta.{where}: {problem['msg']}; correct it") from error
