"""Say how a run ended and why: the report, and messages to people."""

import json
import logging
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from kfp_ratchet.components.notify.cluster import PodTrouble, pod_troubles
from kfp_ratchet.components.notify.notifications import Notifications
from kfp_ratchet.components.notify.report import render
from kfp_ratchet.components.notify.run_view import RunView
from kfp_ratchet.components.shared.journal import Origin, Step, journal, read_record
from kfp_ratchet.components.shared.store import Store


def notify_end(state: str, model_name: str, store: str, notifications: str, report_path: str, report_uri: str) -> None:
    """Write the run's report and send its messages. A message that cannot be delivered never fails the run.

    Running it again for the same run and outcome sends only what was not sent before.

    Args:
        state: Final state by Kubeflow Pipelines; only recorded, the journal knows better.
        model_name: Registered name of the model.
        store: URI of the store.
        notifications: `Notifications` as JSON.
        report_path: Where to write the report.
        report_uri: The report's URI; names this run.

    Raises:
        InputError: The store cannot be opened, or `notifications` is not valid (found after the report is written).
    """
    objects = Store(store)
    origin = Origin.of(report_uri)
    before = read_record(objects, origin)
    with journal(store, report_uri) as step:
        step.progress("reading the run's journal")
        pods = pod_troubles(origin.run)
        run = RunView.read(objects, origin.run, model_name).model_copy(update={"pods": pods})
        key = keep_report(objects, run, Path(report_path))
        title, body = f"{model_name or 'run'}: {run.outcome}", message(run, f"{store.rstrip('/')}/{key}")
        sys.stdout.write(f"{title}\n\n{body}\n")
        step.found(title, outcome=run.outcome, final_state=state, sent=[], failed=[], **_told(pods))

        wanted = Notifications.parse(notifications)
        if run.outcome not in wanted.on:
            return
        repeated = before is not None and before.details.get("outcome") == run.outcome
        sent = set(before.details.get("sent", [])) if before is not None and repeated else set()
        if wanted.file:
            _tell_file(step, wanted.file, run, f"{store.rstrip('/')}/{key}")
        urls = (*wanted.urls, *os.environ.get(wanted.urls_env, "").split())
        if urls:
            _send(step, urls, title, body, sent)
        told, lost = len(step.record.details["sent"]), len(step.record.details["failed"])
        step.record.line = title + (f"; told {told}" if told else "") + (f"; {lost} could not be told" if lost else "")


def _told(pods: dict[str, PodTrouble]) -> dict[str, Any]:
    return {"pods": {step: trouble.model_dump() for step, trouble in pods.items()}} if pods else {}


def keep_report(store: Store, run: RunView, path: Path) -> str:
    """Write a run's report to `path` and into the store; returns its key there."""
    page = render(run)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    key = f"runs/{run.run}/report.html"
    store.put(key, page.encode())
    return key


def message(run: RunView, report: str) -> str:
    """What people read: why, what to do, what is live, where the report is."""
    live = next((view.record.line for view in run.steps if view.step == "deploy" and view.record is not None), "")
    warned = f"WARNING: {run.forced}" if run.forced else ""
    lines = [run.reason, run.remedy, live if run.outcome == "promoted" else "", warned]
    return "\n".join([*(line for line in lines if line), "", f"Run: {run.run}", f"Report: {report}"])


def _tell_file(step: Step, file: str, run: RunView, report: str) -> None:
    line = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": run.model_name,
        "run": run.run,
        "outcome": run.outcome,
        "exit_code": run.exit_code,
        "reason": run.reason,
        "remedy": run.remedy,
        "forced": run.forced,
        "version": run.details("register").get("version"),
        "report": report,
    }
    path = Path(file)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not (path.exists() and _holds(path, run)):
            with path.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(line) + "\n")
        _note(step, "sent", file)
    except (OSError, ValueError) as error:
        _note(step, "failed", f"{file}: {error}")


def _holds(path: Path, run: RunView) -> bool:
    marks = (f'"run": {json.dumps(run.run)}', f'"outcome": {json.dumps(run.outcome)}')
    with path.open(encoding="utf-8") as lines:
        return any(all(mark in line for mark in marks) for line in lines)


def _send(step: Step, urls: tuple[str, ...], title: str, body: str, sent: set[str]) -> None:
    import apprise

    seen: list[str] = []
    for url in urls:
        service = apprise.Apprise.instantiate(url, suppress_exceptions=True)
        if service is None:
            _note(step, "failed", f"{url.partition('://')[0][:20]}://...: not a URL that Apprise understands")
            continue
        # The path and query of a webhook may be a secret that Apprise does not know of.
        masked = urlsplit(service.url(privacy=True))
        label = f"{masked.scheme}://{masked.netloc}"
        seen.append(label)
        label += f" ({seen.count(label)})" if seen.count(label) > 1 else ""
        if label in sent:
            _note(step, "sent", label)
            continue
        step.progress(f"telling {label}")
        logger = logging.getLogger("apprise")
        propagated, logger.propagate = logger.propagate, False
        with apprise.LogCapture(level=logging.WARNING, name="apprise", fmt="%(message)s") as log:
            try:
                delivered = bool(service.notify(title=title, body=body))
            except Exception as error:
                delivered = False
                log.write(f"{type(error).__name__}: {error}")
            said = " ".join(log.getvalue().split())
        logger.propagate = propagated
        _note(
            step,
            "sent" if delivered else "failed",
            label if delivered else f"{label}: {without_secrets(said, url, label)}",
        )


def without_secrets(text: str, url: str, label: str) -> str:
    """`text` without the parts of `url` that are long enough to be a secret and that the masked label does not show."""
    parts = re.split(r"[/:@?&=]+", url.partition("://")[2])
    for part in sorted({*parts, *map(unquote, parts)}, key=len, reverse=True):
        if len(part) > 5 and part not in label:
            text = text.replace(part, "***")
    return text[:300] or "not delivered"


def _note(step: Step, kind: str, what: str) -> None:
    # Written at once, so that a repeated step knows what was sent.
    step.record.details[kind].append(what)
    step.write()
