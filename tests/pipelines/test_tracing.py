"""From a version to what made it, and from an object to the versions that saw it."""

import json
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.lineage import Lineage, Provenance
from kfp_ratchet.components.shared.manifest import Manifest
from kfp_ratchet.pipelines.cli import app
from kfp_ratchet.pipelines.project import Project
from kfp_ratchet.pipelines.sightings import sightings
from kfp_ratchet.pipelines.tracing import named_version, trace

SOURCE = '{"flights": "s3://bucket/raw/flights", "planes": "data/planes.csv"}'
OLD, NEW, LATE = "sha256:" + "aa" * 32, "sha256:" + "bb" * 32, "version:3sL4kqtJlcpXroDTDmJ.rmSpXd3dIbrHY"


def manifest(*flights: tuple[str, str], planes: str = "sha256:" + "cc" * 32) -> Manifest:
    schema = {"path": pl.String, "size": pl.Int64, "version": pl.String}
    rows = [(path, 100 * (1 + index), version) for index, (path, version) in enumerate(flights)]
    return Manifest(
        {
            "flights": pl.DataFrame(rows, schema, orient="row"),
            "planes": pl.DataFrame([("planes.csv", 7, planes)], schema, orient="row"),
        }
    )


class Story:
    """Three versions: the month of February came after the first, and was corrected before the third."""

    def __init__(self, past) -> None:
        self.past = past
        self.store = past.store
        (past.folder / "ratchet.yaml").write_text(
            "name: mine\nsource: data.csv\nschema: schema.yaml\ncolumns: {target: y, problem: binary, id: id}\n"
        )
        (past.folder / "schema.yaml").write_text("columns: {}\n")
        self.project = Project.open(past.folder / "ratchet.yaml")
        self.manifests = [
            manifest(("month=01/a b.parquet", OLD)),
            manifest(("month=01/a b.parquet", OLD), ("month=02/a.parquet", NEW)),
            manifest(("month=01/a b.parquet", OLD), ("month=02/a.parquet", LATE)),
        ]
        for number, (noise, kept) in enumerate(zip((2.0, 0.5, 3.0), self.manifests, strict=True), 1):
            kept.keep(self.store)
            draft = past.draft(str(number), noise).model_copy(update={"revision": kept.revision})
            self.version(str(number), kept.revision)
            past.promoted(draft) if draft.kind == "promote" else past.ledger.append(draft)

    def version(self, number: str, revision: str, model: str = "mine") -> None:
        Lineage(
            model=model,
            version=number,
            digest=f"sha256:{number}",
            run=f"run-{number}",
            time="2026-03-01T00:00:00+00:00",
            revision=revision,
            manifest=Manifest.key(revision),
            source=SOURCE,
            window={"train": "all", "end": "2026-02"},
            provenance=Provenance(commit="abc", dirty=True),
        ).keep(self.store)

    def seen(self, what: str, *models: str) -> list[tuple[str, str]]:
        found, _ = sightings(self.project, models or ["mine"], what)
        return [(one.model, one.version) for one in found]

    def ratchet(self, *arguments: str):
        return CliRunner().invoke(app, [*arguments, "-c", str(self.past.folder / "ratchet.yaml")])


@pytest.fixture
def story(past) -> Story:
    return Story(past)


ALL, SECOND_ON = [("mine", number) for number in "123"], [("mine", number) for number in "23"]


@pytest.mark.parametrize(
    ("what", "found"),
    [
        ("month=02/a.parquet", SECOND_ON),
        ("s3://bucket/raw/flights/month=02/a.parquet", SECOND_ON),
        ("raw/flights/month=02/a.parquet", SECOND_ON),
        ("s3://bucket/raw/flights/month=02/", SECOND_ON),
        ("s3://bucket/raw/flights/", ALL),
        ("flights/month=02/a.parquet", SECOND_ON),
        ("lights/month=02/a.parquet", []),
        ("month=01/a b.parquet", ALL),
        ("data/planes.csv", ALL),
        (NEW, [("mine", "2")]),
        ("bbbbbbbb", [("mine", "2")]),
        (LATE, [("mine", "3")]),
        (LATE.partition(":")[2], [("mine", "3")]),
        (f'"{LATE.partition(":")[2]}"', [("mine", "3")]),
        ("s3://bucket/raw/planes/month=02/a.parquet", []),
        ("s3://bucket/raw/flights/planes.csv", []),
        ("s3://other/raw/flights/month=02/a.parquet", []),
        ("month=02", []),
        ("a.parquet", []),
        ("bbbbbbb", []),
        (".*", []),
    ],
)
def test_who_has_seen_an_object(story, what, found):
    assert story.seen(what) == found


def test_versions_without_lineage_are_searched_where_the_configuration_says(story):
    for key in list(story.store.keys("lineage")):
        story.store.delete(key)
    config = story.past.folder / "ratchet.yaml"
    config.write_text(
        config.read_text()
        .replace("source: data.csv", f"source: {SOURCE}")
        .replace("a: schema.yaml", "a: {flights: schema.yaml}")
    )
    found, notes = sightings(Project.open(config), ["mine"], "s3://bucket/raw/flights/month=02/a.parquet")
    assert [one.version for one in found] == ["2", "3"]
    assert "no lineage of v1 of mine is kept" in notes[0]


@pytest.mark.parametrize("what", ["", " ", '""'])
def test_a_blank_name_that_all_objects_would_begin_with(story, what):
    told = story.ratchet("model", "trace", "--data", what)
    assert isinstance(told.exception, InputError) and "no object is named" in told.exception.message


def test_who_was_made_of_a_revision(story):
    second = story.manifests[1].revision
    assert story.seen(second) == story.seen(second[7:15]) == [("mine", "2")]
    assert story.seen(second[7:14]) == []


def test_a_path_of_this_machine_as_it_is_seen_from_elsewhere(story, monkeypatch):
    place = story.past.folder / "data" / "planes.csv"
    assert story.seen(str(place)) == story.seen(f"file://{place}") == ALL
    (story.past.folder / "data").mkdir()
    monkeypatch.chdir(story.past.folder / "data")
    assert story.seen("planes.csv") == ALL


def test_other_models_of_the_store_have_seen_it_too(story):
    story.version("4", story.manifests[1].revision, "theirs")
    assert story.seen(NEW, "mine", "theirs") == [("mine", "2"), ("theirs", "4")]
    told = story.ratchet("model", "trace", "--data", NEW, "--json")
    assert [one["model"] for one in json.loads(told.output)["seen"]] == ["mine"], "theirs has no ledger yet"
    assert told.exit_code == 0


def test_a_version_of_the_ledger_without_lineage_is_found_by_what_judged_it(story):
    story.store.delete("lineage/mine/2.json")
    assert story.seen("month=02/a.parquet") == SECOND_ON


@pytest.mark.parametrize("damage", ["gone", "damaged"])
def test_a_manifest_that_cannot_be_searched_is_no_answer_that_nobody_saw_it(story, damage):
    key = Manifest.key(story.manifests[1].revision)
    story.store.delete(key)
    if damage == "damaged":
        story.store.put(key, b"PAR1 no more")
    found, notes = sightings(story.project, ["mine"], NEW)
    assert found == [] and "whether v2 of mine saw it cannot be told" in notes[0]
    told = story.ratchet("model", "trace", "--data", NEW)
    assert told.exit_code == 1 and "as far as could be searched" in " ".join(told.output.split())


def test_a_lineage_that_was_changed_does_not_stop_the_search(story):
    story.store.put("lineage/mine/1.json", b"{")
    found, notes = sightings(story.project, ["mine"], OLD)
    assert [one.version for one in found] == ["1", "2", "3"] and "lineage/mine/1.json" in notes[0]


def test_each_manifest_is_read_once_however_many_versions_share_it(story, monkeypatch):
    from kfp_ratchet.components.shared.store import Store

    for number in range(10, 40):
        story.version(str(number), story.manifests[1].revision)
    read: list[str] = []
    download = Store.download
    monkeypatch.setattr(Store, "download", lambda self, key, path: (read.append(key), download(self, key, path))[1])
    assert len(story.seen(NEW)) == 31 and len(read) == len(set(read)) == 3


def test_what_is_told_of_a_sighting(story):
    (second,) = sightings(story.project, ["mine"], NEW)[0]
    assert second.objects[0].path == "month=02/a.parquet" and second.objects[0].size == 200
    assert second.verdict == "promote" and second.reigns[0].ended is None
    told = story.ratchet("model", "trace", "--data", NEW)
    assert "mine v2  promote, champion since" in told.output and "Listed is not the same as trained on" in told.output
    none = story.ratchet("model", "trace", "--data", "nowhere.csv")
    assert none.exit_code == 1 and "no version of mine" in none.output


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("", "2"),
        ("mine", "2"),
        ("mine@champion", "2"),
        ("@champion", "2"),
        ("@previous", "1"),
        ("mine@3", "3"),
        ("@v3", "3"),
        ("3", "3"),
        ("v3", "3"),
        ("@challenger", ""),
    ],
)
def test_which_version_is_meant(story, text, meant):
    assert named_version(story.project, text) == ("mine", meant)


@pytest.mark.parametrize(
    ("text", "told"), [("yours@3", "yours"), ("@chmpion", "champion"), ("mine@../../1", "neither")]
)
def test_a_version_that_nobody_can_mean(story, text, told):
    with pytest.raises(InputError, match=told):
        named_version(story.project, text)


def test_a_trace_leads_to_the_objects(story):
    found = trace(story.project, "mine", "2")
    assert found.kept and found.manifest.revision == story.manifests[1].revision and found.notes == []
    told = story.ratchet("model", "trace", "mine@2").output
    for said in (
        "champion since",
        "month=02/a.parquet  200 bytes  sha256:bb",
        "commit abc and changes",
        "in data/planes.csv",
    ):
        assert said in told, said
    assert "was champion" in story.ratchet("model", "trace", "@previous").output
    assert "never champion" in story.ratchet("model", "trace", "3").output


def test_only_the_first_files_are_shown_unless_all_are_asked_for(story):
    many = manifest(*((f"{number:03}.parquet", NEW) for number in range(50)))
    many.keep(story.store)
    story.version("7", many.revision)
    few, every = (story.ratchet("model", "trace", "7", *more).output for more in ((), ("--files",)))
    assert "and 47 more: --files" in few and "049.parquet" not in few and "049.parquet" in every
    assert len(json.loads(story.ratchet("model", "trace", "7", "--json").output)["files"]["flights"]) == 50


def test_a_version_from_before_lineage_is_traced_by_ledger_and_card(story):
    story.store.delete("lineage/mine/2.json")
    found = trace(story.project, "mine", "2")
    assert not found.kept and found.lineage.revision == story.manifests[1].revision and found.manifest is not None
    assert any("registered without lineage" in note for note in found.notes)
    told = story.ratchet("model", "trace", "2")
    assert told.exit_code == 0 and "commit not told" in told.output
    assert not (story.past.folder / ".ratchet" / "mlflow.db").exists(), "looking made a registry"


def test_versions_that_are_not_there(story):
    with pytest.raises(InputError, match="has no version 9"):
        trace(story.project, "mine", "9")
    assert story.ratchet("model", "trace", "@challenger").exit_code == 1
    story.store.put("lineage/mine/2.json", b"{")
    with pytest.raises(RatchetError, match="is damaged"):
        trace(story.project, "mine", "2")


def test_a_manifest_that_is_gone_is_said_and_all_else_is_told(story):
    story.store.delete(Manifest.key(story.manifests[1].revision))
    told = story.ratchet("model", "trace", "2").output
    assert "no manifest of its data is kept" in told and "s3://bucket/raw/flights" in told


def test_a_project_without_a_champion(blank, tmp_path: Path):
    (tmp_path / "ratchet.yaml").write_text(
        "name: mine\nsource: data.csv\nschema: schema.yaml\ncolumns: {target: y, problem: binary, id: id}\n"
    )
    (tmp_path / "schema.yaml").write_text("columns: {}\n")
    told = CliRunner().invoke(app, ["model", "trace", "-c", str(tmp_path / "ratchet.yaml")])
    assert told.exit_code == 1 and "mine has no champion yet" in told.output
