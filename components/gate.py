"""The gate: whether a candidate takes the champion's place. Pure; nothing here touches the world."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scores:
    """What the gate knows of a model: its accuracy, and on which test set."""

    accuracy: float
    test_digest: str


@dataclass(frozen=True)
class Verdict:
    """Whether the candidate becomes champion, a code for machines and a sentence for people."""

    promoted: bool
    code: str
    sentence: str


def judge(candidate: Scores, champion: Scores | None) -> Verdict:
    """Promote the first model, and every one that is more accurate than the champion on the same test set."""
    if champion is None:
        return Verdict(promoted=True, code="first", sentence="there was no champion")
    if candidate.test_digest != champion.test_digest:
        return Verdict(
            promoted=False,
            code="other_test_set",
            sentence="the champion was scored on another test set, so the two cannot be compared",
        )
    better = candidate.accuracy > champion.accuracy
    return Verdict(
        promoted=better,
        code="better" if better else "not_better",
        sentence=f"test accuracy {candidate.accuracy:.4f} against the champion's {champion.accuracy:.4f}",
    )
