"""The page of a replay says what the decisions say, shows hostile text as text, and stays small."""

import re
from dataclasses import replace
from typing import Any

from kfp_ratchet.components.shared.decision import Decision
from kfp_ratchet.pipelines.replay.naive import follow
from kfp_ratchet.pipelines.replay.page import Year, render
from kfp_ratchet.pipelines.replay.story import Retrain

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)> {{ 7 * 7 }} \u202egnp.exe"


def of(retrains: list[Retrain], **more: Any) -> Year:
    given = {
        "model": "mine",
        "periods": tuple(one.period for one in retrains),
        "comparisons": {},
        "incidents": {},
    } | more
    return Year(retrains=retrains, choices=follow(retrains), **given)


def four(year: Any) -> list[Retrain]:
    retrains: list[Retrain] = year(
        ("promote", 0.70, 0.50), ("reject", 0.66, 0.69), "column 'x' is gone", ("inconclusive", 0.71, 0.70)
    )
    return retrains


def text(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_the_first_screen_says_in_one_sentence_what_the_year_was(year: Any) -> None:
    told = text(render(of(four(year))))
    assert "4 retrains 1 promoted, 1 rejected, 1 inconclusive, 1 blocked; v1 is live, since 2025-01." in told


def test_a_replay_that_is_not_at_its_end_says_so(year: Any) -> None:
    assert "1 retrain of 2" in text(render(of(year(("promote", 0.7, 0.5)), periods=("2025-01", "2025-02"))))


def test_another_decision_is_another_page(year: Any) -> None:
    before, after = (
        render(of(year(("promote", 0.70, 0.50), (verdict, 0.72, 0.69)))) for verdict in ("reject", "promote")
    )
    assert "v1 is live, since 2025-01" in text(before) and "v2 is live, since 2025-02" in text(after)
    assert "would have decided otherwise in 1 period" in text(before)
    assert "would have decided otherwise" not in text(after)


def test_every_number_of_a_decision_is_on_the_page_with_its_interval(year: Any) -> None:
    assert "challenger 0.6600 [0.6500, 0.6700]" in render(of(four(year)))


def test_an_incident_stands_beside_what_stopped_it_or_did_not(year: Any) -> None:
    retrains = year(("promote", 0.7, 0.5), "column 'x' is gone", ("promote", 0.8, 0.7))
    told = text(render(of(retrains, incidents={"2025-02": "x is dropped", "2025-03": "labels are shuffled"})))
    assert "2025-02 x is dropped ■ blocked validate column &#39;x&#39; is gone" in told
    assert "2025-03 labels are shuffled ✓ promoted nothing because of month 3" in told


def test_where_the_naive_rule_has_another_model_live_its_worth_is_counted(year: Any) -> None:
    retrains = year(("promote", 0.70, 0.5), ("promote", 0.65, 0.6), ("reject", 0.60, 0.64), ("reject", 0.61, 0.65))
    worse, unclear = ({"value": value, "low": value - 0.01, "high": value + 0.01} for value in (-0.05, 0.001))
    comparisons = {
        period: Decision.model_validate(
            {"verdict": "reject", "reason": "", "metric": "roc_auc", "gain": gain, "champion_version": "2"}
        )
        for period, gain in (("2025-03", worse), ("2025-04", unclear))
    }
    told = text(render(of(retrains, comparisons=comparisons)))
    assert "was worse in 1, better in 0 and not told apart in 1" in told
    assert "2025-03: v1 against v2" in told


def test_a_model_that_the_gate_refused_and_that_was_better_later_is_owned_up_to(year: Any) -> None:
    retrains = year(("promote", 0.70, 0.5), ("reject", 0.71, 0.70), ("reject", 0.60, 0.64))
    gain = {"value": 0.02, "low": 0.01, "high": 0.03}
    decision = Decision.model_validate(
        {"verdict": "promote", "reason": "", "metric": "roc_auc", "gain": gain, "champion_version": "1"}
    )
    told = text(render(of(retrains, comparisons={"2025-03": decision})))
    assert "The better v2 is one that the gate had rejected: because of month 2" in told


def test_hostile_text_is_shown_as_text(year: Any) -> None:
    retrains = year(("promote", 0.7, 0.5), "blocked", reason=HOSTILE)
    hostile = [replace(one, version=HOSTILE if one.version else "", live_after=HOSTILE) for one in retrains]
    page = render(of(hostile, model=HOSTILE, incidents={"2025-02": HOSTILE}))
    assert "<script" not in page and "<img" not in page and "\u202e" not in page
    assert "{{ 7 * 7 }}" in page


def test_it_takes_nothing_from_a_network(year: Any) -> None:
    assert not re.search(r"https?://|@import|url\(|src=", render(of(four(year))))


def test_a_hundred_periods_stay_small(year: Any) -> None:
    retrains = [
        replace(one, period=f"{2000 + index}-01", reason="x" * 5000) for index, one in enumerate(four(year) * 25)
    ]
    assert len(render(of(retrains)).encode()) < 500_000


def test_a_year_in_which_everything_was_blocked_has_a_page(year: Any) -> None:
    told = text(render(of(year("no", "no"))))
    assert "0 promoted, 0 rejected, 0 inconclusive, 2 blocked; nothing is live." in told
