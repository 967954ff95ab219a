"""diff and apply, against a server that answers as a recorded real one did."""

from dataclasses import replace
from datetime import UTC, timedelta
from zoneinfo import ZoneInfo

import pytest
from declared_project import NIGHTLY, Project, spec

from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.pipelines.pipeline_text import digest_of
from kfp_ratchet.pipelines.server.connection import Server
from kfp_ratchet.pipelines.server.marks import Mark, described
from kfp_ratchet.pipelines.server.objects import NewSchedule, Trigger
from kfp_ratchet.pipelines.server.schedules import Listed
from kfp_ratchet.pipelines.server.settings import ServerSettings
from kfp_ratchet.testing.kfp_server import KfpServer


@pytest.fixture
def double():
    # Its clock runs, and fast: of two versions in one second nobody can tell which is newer, so apply waits.
    with KfpServer(pace=10) as server:
        yield server


@pytest.fixture
def project(tmp_path):
    found = Project(tmp_path / "project")
    found.pipeline("flights", schedules={"nightly": dict(NIGHTLY)})
    return found


def changes(double):
    return [call for call in double.calls if call[0] != "GET"]


def enabled(double):
    return [one for one in double.schedules if one["status"] == "ENABLED"]


def newest(server, name="flights"):
    return server.versions(server.pipeline(name).id)[0]


def test_an_empty_server_gets_everything_and_a_second_apply_does_nothing(project, server, double):
    assert project.actions(server) == [
        ("experiment", "flights", "create"),
        ("pipeline", "flights", "create"),
        ("version", "flights", "upload"),
        ("schedule", "flights/nightly", "create"),
    ]
    applied = project.apply(server)
    assert not applied.errors
    [schedule] = enabled(double)
    assert schedule["pipeline_version_reference"]["pipeline_version_id"] == newest(server).id
    assert schedule["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * *"
    assert schedule["no_catchup"] is True
    before = len(changes(double))
    assert project.plan(server).differences == ()
    assert project.apply(server).done == []
    assert len(changes(double)) == before


def test_changed_code_becomes_a_version_that_the_schedule_runs(project, server, double):
    project.apply(server)
    first = newest(server)
    project.pipeline("flights", "changed", {"nightly": dict(NIGHTLY)})
    assert [one[2] for one in project.actions(server)][1:] == ["replace"]
    assert not project.apply(server).errors
    second = newest(server)
    assert second.id != first.id
    [schedule] = double.schedules
    assert schedule["status"] == "ENABLED"
    assert schedule["pipeline_version_reference"]["pipeline_version_id"] == second.id


def test_a_rollback_makes_the_old_content_the_newest_version_again(project, server):
    """The UI preselects the newest version, and schedules without a version run it: the old one, where it lies, is of no use."""
    project.apply(server)
    project.pipeline("flights", "broken", {"nightly": dict(NIGHTLY)})
    project.apply(server)
    project.pipeline("flights", "hello", {"nightly": dict(NIGHTLY)})
    assert not project.apply(server).errors
    versions = server.versions(server.pipeline("flights").id)
    assert len(versions) == 3
    assert digest_of(versions[0].spec) == digest_of(versions[2].spec) == digest_of(spec("hello"))
    assert versions[0].name == versions[2].name + "-2"
    assert server.schedules()[0].version_id == versions[0].id


def test_a_name_that_lies_about_its_content_is_not_believed(project, server):
    """The version has our name and our mark, and other content."""
    project.apply(server)
    there = newest(server)
    server.delete_version(there.pipeline_id, there.id)
    text = (project.folder / "flights.yaml").read_text().replace("hello", "lie")
    server.upload_version(there.pipeline_id, there.name, there.description, text)
    assert ("version", "flights") in [one[:2] for one in project.actions(server)]
    project.apply(server)
    assert digest_of(newest(server).spec) == digest_of(spec("hello"))
    assert newest(server).name == there.name + "-2"


def test_two_versions_of_one_second_are_settled_by_a_third(project):
    with KfpServer() as double:
        server = Server.connect(ServerSettings(url=double.url))
        project.apply(server)
        double.advance(5)
        pipeline = server.pipeline("flights")
        for word in ("one", "hello"):
            text = (project.folder / "flights.yaml").read_text().replace("hello", word)
            server.upload_version(pipeline.id, f"by-hand-{word}", "", text)
        double.advance(5)
        assert "in the same second" in project.plan(server).differences[0].on_server
        project.apply(server)
        versions = server.versions(pipeline.id)
        assert digest_of(versions[0].spec) == digest_of(spec("hello"))
        assert versions[0].created > versions[1].created == versions[2].created


@pytest.mark.parametrize("owner", ["", "others"])
def test_a_pipeline_of_someone_else_is_refused_and_adopted_only_when_told(project, server, double, owner):
    theirs = server.create_pipeline("flights", described("Theirs", Mark(owner, "flights")) if owner else "Theirs")
    server.upload_version(theirs.id, "theirs", "", (project.folder / "flights.yaml").read_text())
    [difference] = [one for one in project.plan(server).differences if one.kind == "pipeline"]
    assert "--adopt 'flights'" in difference.refused
    applied = project.apply(server)
    assert "flights" in applied.errors
    assert len(server.versions(theirs.id)) == 1
    assert double.schedules == []
    assert ("pipeline", "flights", "adopt") in project.actions(server, ["flights"])
    assert not project.apply(server, adopt=["flights"]).errors
    # The mark is on the version: it is ours from now on, though its description cannot be changed.
    assert project.plan(server).differences == ()
    assert [one.name for one in server.pipelines()] == ["flights"]


def test_an_adopted_pipeline_stays_ours_after_uploads_by_hand(project, server):
    theirs = server.create_pipeline("flights", "Theirs")
    project.apply(server, adopt=["flights"])
    for name in ("a", "b", "c"):
        server.upload_version(theirs.id, name, "", (project.folder / "flights.yaml").read_text().replace("hello", name))
    assert not project.apply(server).errors
    assert digest_of(newest(server).spec) == digest_of(spec("hello"))


def test_another_spelling_is_the_same_name_to_a_server(project, server, double):
    server.create_pipeline("FLIGHTS", "")
    [refused] = [one for one in project.plan(server).differences if one.refused]
    assert "'FLIGHTS'" in refused.on_server
    assert "flights" in project.apply(server).errors
    assert len(double.pipelines) == 1


def test_what_others_have_on_the_server_is_never_touched(project, server, double):
    project.apply(server)
    pipeline = server.pipeline("flights")
    other = server.create_pipeline("others", described("", Mark("team-b", "others")))
    version = server.upload_version(other.id, "v", "", (project.folder / "flights.yaml").read_text())
    theirs = NewSchedule(
        "theirs",
        described("", Mark("team-b", "flights", "nightly")),
        server.experiment("flights").id,
        other.id,
        version.id,
        Trigger("0 0 1 * * *"),
        {},
        enabled=True,
    )
    kept = [server.create_schedule(theirs).id]
    # Someone's own, by hand, of our pipeline; and one that has our schedule's name.
    unmarked = replace(
        theirs, name="flights nightly", description="by hand", pipeline_id=pipeline.id, version_id=newest(server).id
    )
    kept.append(server.create_schedule(unmarked).id)
    assert project.plan(server).differences == ()
    assert any("flights nightly" in notice for notice in project.plan(server).notices)
    project.pipelines.clear()
    project.apply(server, prune=True)
    # Deleting the pipeline would leave theirs firing on what is gone.
    assert {one["recurring_run_id"] for one in enabled(double)} == set(kept)
    assert {one["display_name"] for one in double.pipelines} == {"flights", "others"}


@pytest.mark.parametrize(
    ("change", "action"),
    [
        ({"cron": "0 4 * * *"}, "replace"),
        ({"parameters": {"trials": 20}}, "replace"),
        ({"catch_up": True}, "replace"),
        ({"max_concurrency": 2}, "replace"),
        ({"end": "2030-01-01"}, "replace"),
        ({"start": "2029-01-01"}, "replace"),
        ({"experiment": "other"}, "replace"),
        ({"cron": None, "every": "6h"}, "replace"),
        ({"enabled": False}, "pause"),
    ],
)
def test_each_field_of_a_schedule_that_changes_is_seen_and_settled(project, server, double, change, action):
    project.experiments["other"] = ""
    project.apply(server)
    changed = {key: value for key, value in {**NIGHTLY, **change}.items() if value is not None}
    project.pipelines["flights"]["schedules"]["nightly"] = changed
    assert project.actions(server) == [("schedule", "flights/nightly", action)]
    assert not project.apply(server).errors
    assert project.plan(server).differences == ()
    assert len(double.schedules) == 1
    assert len(enabled(double)) == (0 if action == "pause" else 1)


def test_a_hand_edit_is_found_and_repaired(project, server, double):
    project.apply(server)
    [schedule] = server.schedules()
    server.disable(schedule.id)
    assert project.actions(server) == [("schedule", "flights/nightly", "resume")]
    project.apply(server)
    # Someone copies it in the UI, mark and all, and changes the hour; deletes the original.
    server.create_schedule(replace(schedule, trigger=Trigger("0 0 5 * * *"), enabled=True))
    assert project.actions(server) == [("schedule", "flights/nightly", "delete")]
    server.delete_schedule(schedule.id)
    assert project.actions(server) == [("schedule", "flights/nightly", "replace")]
    project.apply(server)
    assert [one["trigger"]["cron_schedule"]["cron"] for one in double.schedules] == ["0 0 3 * * *"]


def test_a_schedule_that_is_not_declared_any_more_is_told_and_pruned(project, server, double):
    project.apply(server)
    project.pipelines["flights"]["schedules"] = {}
    [orphan] = project.plan(server).differences
    assert (orphan.kind, orphan.orphan, orphan.on_server) == ("schedule", True, "fires")
    applied = project.apply(server)
    assert any("flights/nightly" in notice for notice in applied.notices)
    assert len(enabled(double)) == 1
    project.apply(server, prune=True)
    assert double.schedules == []
    assert project.plan(server).differences == ()


def test_schedules_of_a_deleted_pipeline_are_found_since_they_go_on_firing(project, server, double):
    project.apply(server)
    server.delete_pipeline(server.pipeline("flights").id)
    assert [one[:2] for one in project.actions(server)] == [
        ("pipeline", "flights"),
        ("version", "flights"),
        ("schedule", "flights/nightly"),
    ]
    project.pipelines.clear()
    [orphan] = project.plan(server).differences
    assert "its pipeline is gone" in orphan.on_server
    project.apply(server, prune=True)
    assert double.schedules == []


def test_a_pipeline_that_is_not_declared_any_more_goes_with_its_versions_and_its_runs_stay(project, server, double):
    project.apply(server)
    [schedule] = server.schedules()
    run = server.create_run(
        name="r",
        description="",
        experiment_id=schedule.experiment_id,
        parameters={},
        pipeline_id=schedule.pipeline_id,
        version_id=schedule.version_id,
    )
    double.set_run(run.id, "SUCCEEDED")
    project.pipelines.clear()
    project.apply(server, prune=True)
    assert double.pipelines == []
    assert double.schedules == []
    assert server.run(run.id).state == "SUCCEEDED"


def test_an_old_schedule_is_not_deleted_while_its_run_goes_on(project, server, double):
    """The cluster's objects of a run belong to the schedule that started it, and are deleted with it."""
    project.apply(server)
    [old] = server.schedules()
    double.advance(86_400 + 3600)
    run = next(one for one in server.runs() if one.recurring_run_id == old.id)
    double.set_run(run.id, "RUNNING")
    project.pipeline("flights", "changed", {"nightly": dict(NIGHTLY)})
    assert not project.apply(server).errors
    assert {one.id: one.enabled for one in server.schedules()}[old.id] is False
    found = project.plan(server)
    assert found.differences == ()
    assert any("once its last run has ended" in notice for notice in found.notices)
    double.set_run(run.id, "SUCCEEDED")
    assert project.actions(server) == [("schedule", "flights/nightly", "delete")]
    project.apply(server)
    assert old.id not in [one.id for one in server.schedules()]


@pytest.mark.parametrize("when", [{"cron": "0 3 * * *"}, {"every": "6h"}])
def test_an_old_schedule_is_not_deleted_in_the_moment_in_which_its_run_begins(project, when):
    """A run shows some twenty seconds after its time, and until then nobody can see that it would be lost."""
    nightly = {**when, "experiment": "flights"}
    project.pipeline("flights", "hello", {"nightly": nightly})
    with KfpServer() as double:
        server = Server.connect(ServerSettings(url=double.url))
        project.apply(server)
        [old] = server.schedules()
        listed = Listed("flights/nightly", (old,), None, "delays")
        due = next(listed.due(UTC, double.now + timedelta(minutes=5)))
        double.advance((due - double.now).total_seconds() + 5)
        project.pipeline("flights", "changed", {"nightly": nightly})
        project.apply(server)
        assert {one.id: one.enabled for one in server.schedules()}[old.id] is False
        assert project.plan(server).differences == ()
        double.advance(3600)
        for run in server.runs():
            double.set_run(run.id, "SUCCEEDED")
        project.apply(server)
        assert old.id not in [one.id for one in server.schedules()]


def test_a_nightly_hour_is_kept_across_changes_of_clocks_and_only_what_is_far_ahead_is_replaced(project):
    project.pipelines["flights"]["schedules"]["nightly"] = {**NIGHTLY, "time_zone": "Europe/Berlin"}
    with KfpServer() as double:
        server = Server.connect(ServerSettings(url=double.url))
        project.apply(server)
        first = sorted(server.schedules(), key=lambda one: one.name)
        assert [bool(one.trigger.end) for one in first].count(False) == 1
        # Until after the first change of clocks, whenever this test is run.
        change = min(one.trigger.end for one in first if one.trigger.end)
        double.advance((change - double.now).total_seconds() + 86_400)
        assert project.actions(server) == [("schedule", "flights/nightly", "extend")]
        assert not project.apply(server).errors
        assert project.plan(server).differences == ()
        kept = {one.id for one in server.schedules()} & {one.id for one in first}
        [in_charge] = [one for one in server.schedules() if one.trigger.start and one.trigger.start <= double.now]
        # That which is over is gone, the last one got an end, and the one in charge is the same: no night is lost.
        assert kept == {in_charge.id}
        assert len(enabled(double)) == 3
        double.advance(3 * 86_400)
        berlin = ZoneInfo("Europe/Berlin")
        hours = {
            one.scheduled.astimezone(berlin).hour for one in server.runs() if one.scheduled and one.scheduled > change
        }
        assert hours == {3}


def test_every_6h_keeps_its_hours_whenever_it_is_replaced(project, server, double):
    """A server counts an interval from when the schedule was made, if it is told no start: one apply an hour, and it never fires."""
    project.pipelines["flights"]["schedules"] = {"often": {"every": "6h", "experiment": "flights"}}
    project.apply(server)
    for word in ("a", "b"):
        double.advance(3 * 3600 + 17)
        project.pipeline("flights", word, {"often": {"every": "6h", "experiment": "flights"}})
        project.apply(server)
    [schedule] = server.schedules()
    assert schedule.trigger.start.timestamp() % (6 * 3600) == 0
    assert 0 <= (double.now - schedule.trigger.start).total_seconds() < 6 * 3600


def test_who_takes_over_does_not_make_up_for_what_was_made_up_for(project, server):
    """A start that has passed is told with catch-up when the schedule is new, and never again."""
    nightly = {**NIGHTLY, "start": "2026-01-01", "catch_up": True}
    project.pipelines["flights"]["schedules"]["nightly"] = nightly
    project.apply(server)
    assert f"{server.schedules()[0].trigger.start:%F %T}" == "2025-12-31 23:59:59"
    project.pipeline("flights", "changed", {"nightly": nightly})
    project.apply(server)
    assert server.schedules()[0].trigger.start is None
    assert project.plan(server).differences == ()


def test_a_schedule_that_is_over_goes(project, server, double):
    project.pipelines["flights"]["schedules"]["nightly"] = {**NIGHTLY, "end": f"{double.now.year + 1}-06-01"}
    project.apply(server)
    double.advance(600 * 86_400)
    assert project.actions(server) == [("schedule", "flights/nightly", "delete")]
    project.apply(server)
    assert double.schedules == []


def test_an_archived_experiment_is_refused_as_its_runs_are_out_of_sight(project, server, double):
    project.apply(server)
    experiment = server.experiment("flights")
    double.state.experiments[experiment.id].archived = True
    if not server.experiment("flights").archived:
        pytest.fail("the experiment is not archived")
    project.pipelines["flights"]["schedules"]["second"] = dict(NIGHTLY)
    assert any(one.kind == "experiment" and one.refused for one in project.plan(server).differences)
    assert "flights/second" in project.apply(server).errors


def test_what_fails_for_one_pipeline_does_not_keep_the_others(project, server):
    project.pipeline("broken")
    (project.folder / "broken.yaml").write_text(
        (project.folder / "broken.yaml").read_text().replace("name: comp-say", "name: comp-none")
    )
    applied = project.apply(server)
    assert list(applied.errors) == ["broken"]
    assert isinstance(applied.errors["broken"], InputError)
    assert "comp-none" in applied.errors["broken"].message
    assert server.pipeline("broken") is None
    assert server.pipeline("flights") is not None


def test_a_pipeline_of_a_newer_sdk_is_refused(project, server, double):
    (project.folder / "flights.yaml").write_text(
        (project.folder / "flights.yaml").read_text().replace("kfp-2.17.0", "kfp-9.1.0")
    )
    sides = project.sides(server)
    from kfp_ratchet.pipelines.server.apply import apply

    applied = apply(server, replace(sides, snapshot=replace(sides.snapshot, server_version="2.17.0")))
    assert "kfp-9.1.0" in applied.errors["flights"].message
    assert double.pipelines == []


def test_a_parameter_that_does_not_fit_is_refused_before_anything_is_asked(project, server, double):
    project.pipelines["flights"]["schedules"]["nightly"]["parameters"] = {"trails": 3}
    with pytest.raises(InputError, match=r"flights\.schedules\.nightly.*trails") as caught:
        project.sides(server)
    assert "trials" in caught.value.remedy
    assert changes(double) == []


def test_a_description_in_any_script_and_of_any_length_arrives_with_its_mark(project, server):
    project.pipelines["flights"]["description"] = "Verspätungen ✈ 遅延\nzweite Zeile " + "ü😀" * 5000
    assert not project.apply(server).errors
    version = newest(server)
    assert version.description.startswith("Verspätungen ✈ 遅延\nzweite Zeile ü😀")
    assert Mark.read(version.description).owner == "delays"
    assert project.plan(server).differences == ()


def test_the_newest_two_versions_are_read_and_not_all(project, server, double):
    project.apply(server)
    pipeline = server.pipeline("flights")
    text = (project.folder / "flights.yaml").read_text()
    for number in range(30):
        double.advance(2)
        server.upload_version(
            pipeline.id, f"by-hand-{number}", newest(server).description, text.replace("hello", f"w{number}")
        )
    double.calls.clear()
    project.plan(server)
    assert len([call for call in double.calls if call[1].endswith("/versions")]) == 1
