"""How a run moves on with the clock when no test says how: every step succeeds, in the beats and rows that were recorded.

Nothing is executed, so nothing is decided either: of the branches of an `If`/`Else` the first is taken, a plain `If` is taken, a
loop has one item. Retries, caching and failing steps are not simulated; a test that needs them says so with `set_run`.
"""

from collections.abc import Iterator

from kfp_ratchet.testing.kfp_server.answers import Json
from kfp_ratchet.testing.kfp_server.graph import inside, pipeline_of
from kfp_ratchet.testing.kfp_server.objects import ENDED, Row, Run, timestamp
from kfp_ratchet.testing.kfp_server.state import State

BEAT = 10
"""Seconds between two looks of the workflow controller; a driver and an executor each take one."""
UNKNOWN_END = "0001-01-01T00:00:00Z"


def next_change(run: Run) -> float | None:
    """When a run changes by itself next, seconds since 1970."""
    if not run.simulated or run.state in ENDED:
        return None
    return run.changed + (1 if run.state == "PENDING" else BEAT)


def change(state: State, run: Run) -> None:
    """Take the next step."""
    now = state.clock.now
    run.changed = now
    if run.state == "CANCELING" and run.history[-1]["state"] == "CANCELING":
        _end(run, "FAILED", now)
    elif run.state == "CANCELING":
        run.enter("CANCELING", now)
    elif run.state == "PENDING":
        run.enter("RUNNING", now)
        run.changed = now - 1
        _show(state, run)
    else:
        run.elapsed += BEAT
        _show(state, run)
        if run.elapsed >= run.rows[0].end:
            _end(run, "SUCCEEDED", now)


def _end(run: Run, state: str, now: float) -> None:
    for row in run.tasks:
        if row["state"] not in ENDED:
            _enter(row, state, now)
    run.enter("SUCCEEDED" if state == "SUCCEEDED" else "FAILED", now)


def _show(state: State, run: Run) -> None:
    """Bring the rows up to the seconds that have elapsed; those that have ended stay as they are."""
    now = state.clock.now
    started = [row for row in run.rows if row.begin <= run.elapsed]
    for row in started[len(run.tasks) :]:
        run.tasks.append(
            {
                "run_id": run.id,
                "task_id": state.new_id(),
                "display_name": row.name,
                "create_time": timestamp(run.created),
                "start_time": timestamp(now),
                "end_time": UNKNOWN_END,
            }
        )
    for row, shown in zip(started, run.tasks, strict=True):
        if shown.get("state") in ("SUCCEEDED", "SKIPPED"):
            continue
        if row.end <= run.elapsed:
            _enter(shown, "SKIPPED" if row.begin == row.end else "SUCCEEDED", now)
        else:
            _enter(shown, "PENDING" if row.pod else "RUNNING", now)


def _enter(row: Json, state: str, now: float) -> None:
    if row.get("state") != state:
        row["state"] = state
        row["state_history"] = [*row.get("state_history", []), {"update_time": timestamp(now), "state": state}]
    if state in ENDED:
        row["end_time"] = timestamp(now)


def plan(run: Run) -> list[Row]:
    """All rows of a run in the order of their begin; the first is the workflow itself."""
    pipeline = pipeline_of(run.spec)
    rows, end = _dag(pipeline, inside(pipeline, "root"), BEAT)
    rows = [Row(run.workflow, 0, end, False), Row("root-driver", 0, BEAT, True), Row("root", BEAT, end, False), *rows]
    return sorted(rows, key=lambda row: row.begin)


def _dag(pipeline: Json, component: Json, begin: int) -> tuple[list[Row], int]:
    """The rows inside a component that is a graph, and when it ends."""
    tasks = inside(component, "dag", "tasks")
    rows: list[Row] = []
    ends: dict[str, int] = {}
    for name in _in_order(tasks):
        task = inside(tasks, name)
        ready = max((ends[before] for before in (task.get("dependentTasks") or []) if before in ends), default=begin)
        more, ends[name] = _task(pipeline, name, task, ready)
        rows += more
    return rows, max(ends.values(), default=begin)


def _task(pipeline: Json, name: str, task: Json, begin: int) -> tuple[list[Row], int]:
    """The rows of a task, and when it ends: a driver, then an executor or what is inside."""
    start = begin + BEAT
    rows = [Row(f"{name}-driver", begin, start, True)]
    if inside(task, "triggerPolicy").get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED":
        rows += [Row(f"{before}.onExit", begin, start + BEAT, False) for before in (task.get("dependentTasks") or [])]
    if _is_other_branch(name, task):
        return [*rows, Row(name, start, start, False)], start
    component = inside(pipeline, "components", str(inside(task, "componentRef").get("name")))
    if "dag" not in component:
        return [*rows, Row(name, start, start + BEAT, False), Row("executor", start, start + BEAT, True)], start + BEAT
    more, end = _dag(pipeline, component, start)
    return [*rows, Row(name, start, max(end, start + BEAT), False), *more], max(end, start + BEAT)


def _is_other_branch(name: str, task: Json) -> bool:
    """Whether a condition begins with the negation of another, as `Elif` and `Else` do."""
    condition = str(inside(task, "triggerPolicy").get("condition", ""))
    return name.startswith("condition-") and condition.startswith("!(")


def _in_order(tasks: Json) -> Iterator[str]:
    """Names of tasks, each after those it depends on."""
    left = {name: inside(tasks, name) for name in tasks}
    while left:
        free = [name for name, task in left.items() if not set(task.get("dependentTasks") or []) & set(left)]
        for name in free or list(left):
            yield name
            del left[name]
