"""Retrains as a replay reads them, without running any."""

from collections.abc import Callable

import pytest

from kfp_ratchet.components.notify.run_view import RunView, StepView
from kfp_ratchet.components.shared.decision import Decision, Interval, Verdict
from kfp_ratchet.components.shared.journal import Failure, Record
from kfp_ratchet.pipelines.replay.story import Retrain

Make = Callable[..., list[Retrain]]
OUTCOMES: dict[Verdict, str] = {"promote": "promoted", "reject": "rejected", "inconclusive": "inconclusive"}


def around(value: float | None, width: float = 0.01) -> Interval:
    return Interval() if value is None else Interval(value=value, low=value - width, high=value + width)


@pytest.fixture
def year() -> Make:
    """Retrains from (verdict, candidate's metric, champion's metric) or "blocked", one a month; versions count the candidates."""

    def made(
        *months: tuple[Verdict, float | None, float | None] | str, reason: str = "", metric: str = "roc_auc"
    ) -> list[Retrain]:
        retrains: list[Retrain] = []
        live, version = "", 0
        for number, month in enumerate(months, 1):
            period, run = f"2025-{number:02}", f"run-{number}"
            if isinstance(month, str):
                error = Failure(kind="blocked", message=reason or month)
                record = Record(run=run, step="validate", state="failed", error=error)
                view = RunView(run=run, steps=(StepView(step="validate", state="failed", run=run, record=record),))
                retrains.append(Retrain(period, view, "blocked", reason or month, "", live, live))
                continue
            verdict, candidate, champion = month
            version += 1
            decision = Decision(
                verdict=verdict,
                reason=reason or f"because of month {number}",
                metric=metric,
                candidate=around(candidate),
                champion=around(champion),
                champion_version=live,
                gain=around(None if candidate is None or champion is None else candidate - champion),
                candidate_digest=f"sha256:{version}",
            )
            record = Record(
                run=run, step="gate", state="succeeded", details={"decision": decision.model_dump(mode="json")}
            )
            view = RunView(run=run, steps=(StepView(step="gate", state="succeeded", run=run, record=record),))
            after = str(version) if verdict == "promote" else live
            retrains.append(Retrain(period, view, OUTCOMES[verdict], decision.reason, str(version), live, after))  # type: ignore[arg-type]
            live = after
        return retrains

    return made
