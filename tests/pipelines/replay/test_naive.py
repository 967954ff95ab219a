"""The naive rule compares points of different months, and that is what it must be seen doing."""

from typing import Any


def follow(retrains: Any) -> list[tuple[float | None, bool | None, str]]:
    from kfp_ratchet.pipelines.replay import naive

    return [(choice.stored, choice.promotes, choice.live_after) for choice in naive.follow(retrains)]


def test_it_compares_with_the_metric_that_was_stored_and_not_with_the_champion_on_the_same_rows(year: Any) -> None:
    """In a hard month a better candidate is refused, in an easy one a worse one is promoted."""
    retrains = year(("promote", 0.70, 0.50), ("promote", 0.60, 0.55), ("reject", 0.80, 0.85))
    assert follow(retrains) == [(None, True, "1"), (0.70, False, "1"), (0.70, True, "3")]


def test_for_a_loss_smaller_is_better(year: Any) -> None:
    retrains = year(("promote", 0.50, 0.69), ("reject", 0.55, 0.40), ("promote", 0.45, 0.48), metric="log_loss")
    assert [promotes for _, promotes, _ in follow(retrains)] == [True, False, True]


def test_a_blocked_month_has_no_candidate_and_changes_nothing(year: Any) -> None:
    retrains = year(("promote", 0.70, 0.50), "column 'x' is gone", ("promote", 0.71, 0.70))
    assert follow(retrains) == [(None, True, "1"), (0.70, None, "1"), (0.70, True, "2")]


def test_a_blocked_first_month_and_a_candidate_without_a_score_are_no_champions(year: Any) -> None:
    retrains = year("nothing came", ("inconclusive", None, None), ("promote", 0.6, 0.5))
    assert follow(retrains) == [(None, None, ""), (None, False, ""), (None, True, "2")]


def test_an_equal_score_is_not_better(year: Any) -> None:
    assert follow(year(("promote", 0.7, 0.5), ("reject", 0.7, 0.7)))[1][1] is False
