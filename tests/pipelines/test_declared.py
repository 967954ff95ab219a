"""pipelines.yaml: what it may say, and by which line a mistake is told."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
import yaml

from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.pipelines.config_docs import document
from kfp_ratchet.pipelines.declared import Declared, as_database, load_declared
from kfp_ratchet.pipelines.declared_schedules import DeclaredSchedule, same_trigger
from kfp_ratchet.pipelines.server.marks import Mark, described, read_mark
from kfp_ratchet.pipelines.server.objects import Trigger
from kfp_ratchet.pipelines.server.wanted import web_address

NOW = datetime(2026, 11, 23, 4, 30, tzinfo=UTC)
GOOD = """\
name: delays
experiments:
  flights: Delays
pipelines:
  flights:
    pipeline: mine:train
    schedules:
      nightly: {cron: "0 3 * * *", time_zone: Europe/Berlin, experiment: flights}
      hourly: {every: 6h}
"""


@pytest.fixture
def write(tmp_path):
    def written(text, name="pipelines.yaml"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return written


def test_a_whole_file_is_read(write):
    declared = load_declared(write(GOOD))
    assert declared.folder == write("", "x").parent
    assert declared.pipelines["flights"].schedules["hourly"].interval == timedelta(hours=6)
    assert declared.experiment_of("flights", declared.pipelines["flights"].schedules["hourly"]) == "flights"


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("name: delays", "name: Delays", 1, "does not fit"),
        ("0 3 * * *", "0 25 * * *", 8, "cron: the hour '25' is not within 0 to 23"),
        ("Europe/Berlin", "Europe/Berln", 8, "did you mean 'Europe/Berlin'"),
        ("experiment: flights", "experiment: flight", 8, "did you mean 'flights'"),
        ("every: 6h", "every: 6 hours", 9, "does not fit"),
        ("every: 6h", "every: 0h", 9, "does not fit"),
        ("every: 6h", 'every: 6h, cron: "@daily"', 9, "give either cron or every"),
        ("every: 6h", "every: 6h, max_concurrency: 11", 9, "less than or equal to 10"),
        ("every: 6h", "every: 6h, start: 2026-13-01", 9, "is not an ISO date"),
        ("every: 6h", "every: 6h, start: 9999-12-31", 9, "after the year 9000"),
        ("every: 6h", "every: 6h, start: 2026-12-02, end: 2026-12-01", 9, "is not after start"),
        ("every: 6h", "every: 6h, catchup: true", 9, "did you mean 'catch_up'"),
        ("hourly:", "Hourly:", 9, "lower case"),
        ("mine:train", "continuous_trainig", 6, "did you mean 'continuous_training'"),
        ("mine:train", "continuous_training", 6, "config is missing"),
        ("mine:train", "missing.yaml", 6, "'missing.yaml' does not exist"),
        ("mine:train", "mine:train\n    config: pipelines.yaml", 5, "says nothing to mine:train"),
        (
            "  flights:\n    pipeline",
            "  fl\u00edghts: {pipeline: a:b}\n  flights:\n    pipeline",
            4,
            "are one name to a server",
        ),
        ("  flights:\n    pipeline", "  'flights ':\n    pipeline", 4, "has a space at an end"),
        (
            "name: delays",
            "name: delays\nservers: {a: {url: 'http://u:secret@h'}}",
            2,
            "must hold neither user, password",
        ),
    ],
)
def test_each_mistake_is_told_with_its_line(write, old, new, line, said):
    assert old in GOOD
    with pytest.raises(InputError) as caught:
        load_declared(write(GOOD.replace(old, new, 1)))
    [problem] = [each for each in caught.value.message.splitlines() if said in each] or [caught.value.message]
    assert said in problem
    assert abs(int(problem.split(":")[1]) - line) <= 1, problem
    assert "secret" not in caught.value.message


def test_every_key_is_described_and_the_examples_can_be_read(write):
    rows = [line for line in document(Declared).splitlines() if line.startswith("| `")]
    assert len(rows) > 25
    assert [row for row in rows if row.endswith("|  |")] == []
    write("{}", "ratchet.yaml")
    examples = {name: field.examples[0] for name, field in Declared.model_fields.items()}
    assert load_declared(write(yaml.safe_dump(examples))).pipelines["flights"].schedules


def test_reading_it_imports_nothing_heavy():
    heavy = ["kfp", "kfp_server_api", "kubernetes", "polars", "torch", "mlflow"]
    code = f"import sys, kfp_ratchet.pipelines.declared; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["REC-CASE", "r\u00e9c-case", "rec-case ", "Re\u0301c-Case"])
def test_names_that_a_recorded_server_took_for_one_are_one(name):
    assert as_database(name) == as_database("rec-case")


def test_an_interval_is_counted_from_its_start_or_from_midnight():
    every = DeclaredSchedule(every="6h")
    assert [f"{each:%H:%M}" for each in islice(every.due(NOW), 3)] == ["06:00", "12:00", "18:00"]
    from_four = DeclaredSchedule(every="6h", start="2026-11-01T04:00")
    assert [f"{each:%H:%M}" for each in islice(from_four.due(NOW), 2)] == ["10:00", "16:00"]
    # A server fires one interval after what it is told.
    [span] = from_four.spans(UTC, NOW)
    assert span.trigger.start == datetime(2026, 11, 23, 4, tzinfo=UTC)
    [later] = DeclaredSchedule(every="6h", start="2026-12-01").spans(UTC, NOW)
    assert later.trigger.start + timedelta(hours=6) == datetime(2026, 12, 1, tzinfo=UTC)


def test_start_and_end_are_by_the_clocks_of_the_zone():
    schedule = DeclaredSchedule(cron="0 0 * * *", time_zone="Europe/Berlin", start="2026-12-01", end="2026-12-03")
    assert [f"{each:%F %H:%M}" for each in schedule.due(NOW)] == ["2026-11-30 23:00", "2026-12-01 23:00"]
    [span] = schedule.spans(UTC, NOW)
    assert span.trigger.start < datetime(2026, 11, 30, 23, tzinfo=UTC) <= span.trigger.start + timedelta(seconds=1)
    assert schedule.spans(UTC, NOW + timedelta(days=30)) == []


def test_a_phase_that_somebody_shifted_is_seen():
    [span] = DeclaredSchedule(every="6h").spans(UTC, NOW)
    ticked = Trigger(interval_seconds=21600, start=span.trigger.start - timedelta(days=9), end=None)
    assert same_trigger(ticked, span.trigger, NOW)
    assert not same_trigger(
        Trigger(interval_seconds=21600, start=span.trigger.start + timedelta(minutes=1)), span.trigger, NOW
    )
    assert not same_trigger(Trigger(interval_seconds=21600), span.trigger, NOW)


def test_a_mark_survives_names_with_spaces_and_what_others_write_behind_it():
    mark = Mark("delays", "flights of \u00fcs", "nightly", "2026-10-25T01:00:00Z", "sha256:ab", "c0ffee")
    assert str(mark).isascii()
    assert Mark.read(described("Text\nwith lines", mark)) == mark
    assert Mark.read(f"{described('x', mark)} attempt=1") == mark
    assert Mark.read("kfp-ratchet: owner=mine is what I would write\nbut this is the last line") is not None
    assert Mark.read("nothing") is None
    assert read_mark(described("", mark))["owner"] == "delays"


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("git@github.com:o/r.git", "https://github.com/o/r"),
        ("https://github.com/o/r.git", "https://github.com/o/r"),
        ("ssh://git@gitlab.example.com:2222/o/r.git", "https://gitlab.example.com/o/r"),
        ("/home/me/r", ""),
        ("", ""),
    ],
)
def test_links_lead_to_the_web_page_of_a_remote(remote, address):
    assert web_address(remote) == address


def test_the_schema_is_one_that_editors_read():
    assert json.loads(json.dumps(Declared.model_json_schema()))["title"] == "pipelines.yaml"
