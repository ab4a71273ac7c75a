"""The gate, as claims about two models."""

from components.gate import Scores, judge


def test_the_first_model_is_promoted() -> None:
    assert judge(Scores(0.1, "a"), None).promoted


def test_a_more_accurate_model_is_promoted() -> None:
    verdict = judge(Scores(0.91, "a"), Scores(0.90, "a"))
    assert verdict.promoted
    assert verdict.code == "better"
    assert "0.9100" in verdict.sentence
    assert "0.9000" in verdict.sentence


def test_an_equally_accurate_model_is_not_promoted() -> None:
    assert judge(Scores(0.9, "a"), Scores(0.9, "a")).code == "not_better"


def test_a_less_accurate_model_is_not_promoted() -> None:
    assert not judge(Scores(0.8, "a"), Scores(0.9, "a")).promoted


def test_models_of_different_test_sets_are_not_compared() -> None:
    verdict = judge(Scores(0.99, "a"), Scores(0.5, "b"))
    assert not verdict.promoted
    assert verdict.code == "other_test_set"
