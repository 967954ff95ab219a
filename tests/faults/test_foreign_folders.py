"""What comes from someone else runs nothing: neither on being read nor on the way to being refused."""

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from kfp_ratchet.components.evaluate.contender import Contender
from kfp_ratchet.components.shared import registry
from kfp_ratchet.components.shared.canonical import loads
from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.shared.dataset import Dataset, read_main, write_table
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.model import Card, load_model, model_digest
from kfp_ratchet.components.shared.model_folder import SCRIPTS, check_folder
from kfp_ratchet.components.train.pyfunc import save_pyfunc

COLUMNS = Columns(target="late", problem="binary")


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A module that leaves a mark when it is imported, and a pickle that does when it is loaded."""
    mark = tmp_path / "it ran"
    code = f"open({str(mark)!r}, 'w').close()\n"
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "evil.py").write_text(code)
    monkeypatch.syspath_prepend(str(modules))
    monkeypatch.setenv("PYTHONPATH", str(modules))
    sys.modules.pop("evil", None)
    yield code, pickle.dumps(Touches(str(mark)))
    assert not mark.exists(), "code of someone else's has run"


class Touches:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.fixture(scope="session")
def ours(tmp_path_factory):
    """A model folder as train writes it."""
    folder = tmp_path_factory.mktemp("ours")
    (folder / "workload").mkdir()
    (folder / "workload" / "spec.json").write_text("{}")
    card = Card(
        workload="tabular",
        parameters={},
        columns=COLUMNS,
        features={"x": "Float64"},
        classes=["no", "yes"],
        revision="sha256:r",
        window={},
        split_rule="",
        rows=1,
        seed=0,
        device="cpu",
    )
    save_pyfunc(folder / "model", folder / "workload", card, pl.DataFrame({"x": [1.0]}))
    return folder / "model"


@pytest.fixture
def folder(ours, tmp_path):
    return Path(shutil.copytree(ours, tmp_path / "model"))


def describe(folder, **changes):
    """Change the python_function flavor that MLmodel describes."""
    document = yaml.safe_load((folder / "MLmodel").read_text())
    document["flavors"]["python_function"].update(changes)
    (folder / "MLmodel").write_text(yaml.safe_dump(document))


def another_loader(folder, code, pickled):
    describe(folder, loader_module="evil")


def a_code_folder(folder, code, pickled):
    (folder / "code").mkdir()
    (folder / "code" / "evil.py").write_text(code)
    describe(folder, code="code")


def a_code_path_elsewhere(folder, code, pickled):
    describe(folder, code="../modules")


def another_script(folder, code, pickled):
    (folder / "served.py").write_text(code)


def another_script_name(folder, code, pickled):
    describe(folder, model_code_path="../modules/evil.py")


def another_flavor(folder, code, pickled):
    document = yaml.safe_load((folder / "MLmodel").read_text())
    document["flavors"]["sklearn"] = {"pickled_model": "model.pkl", "loader_module": "mlflow.sklearn"}
    (folder / "MLmodel").write_text(yaml.safe_dump(document))


def a_yaml_tag(folder, code, pickled):
    (folder / "MLmodel").write_text("flavors: !!python/object/apply:importlib.import_module [evil]\n")


def artifacts_elsewhere(folder, code, pickled):
    describe(folder, artifacts={"workload": {"path": "../../artifacts/workload", "uri": ""}})


def a_pickle_beside(folder, code, pickled):
    (folder / "python_model.pkl").write_bytes(pickled)


def a_pickle_among_the_weights(folder, code, pickled):
    (folder / "artifacts" / "workload" / "weights.pkl").write_bytes(pickled)


def a_pickle_by_another_name(folder, code, pickled):
    (folder / "artifacts" / "workload" / "weights.safetensors").write_bytes(pickled)


def a_pickle_in_an_archive(folder, code, pickled):
    import zipfile

    with zipfile.ZipFile(folder / "artifacts" / "workload" / "weights.zip", "w") as archive:
        archive.writestr("archive/data.pkl", pickled)


def a_link(folder, code, pickled):
    (folder.parent / "weights.json").write_text("{}")
    (folder / "artifacts" / "workload" / "weights.json").symlink_to(folder.parent / "weights.json")


def a_linked_folder(folder, code, pickled):
    shutil.move(folder / "artifacts" / "workload", folder.parent / "elsewhere")
    (folder / "artifacts" / "workload").symlink_to(folder.parent / "elsewhere")


STRANGE = {
    another_loader: "MLmodel sets loader_module to 'evil'",
    a_code_folder: "it holds a folder code",
    a_code_path_elsewhere: "MLmodel sets code to '../modules'",
    another_script: "served.py is not the script that this package writes",
    another_script_name: "MLmodel names the script '../modules/evil.py'",
    another_flavor: "MLmodel has a flavor 'sklearn'",
    a_yaml_tag: "MLmodel is none of ours",
    artifacts_elsewhere: "MLmodel names the artifacts ../../artifacts/workload",
    a_pickle_beside: "it holds a file python_model.pkl",
    a_pickle_among_the_weights: "weights.pkl ends in .pkl, as pickles do",
    a_pickle_by_another_name: "weights.safetensors starts like a pickle",
    a_pickle_in_an_archive: "weights.zip is an archive that holds archive/data.pkl",
    a_link: "weights.json is a link",
    a_linked_folder: "artifacts/workload is a link",
}


def test_what_train_writes_is_ours(folder):
    check_folder(folder)
    assert model_digest(folder).startswith("sha256:")


def test_a_release_that_changes_the_script_keeps_older_champions_loadable(ours):
    """Add the digest of the new script to SCRIPTS, and leave the old ones in."""
    assert "sha256:da9a30f1b779e208d0d1270c9102f84d1bd6c60c7888d765d93368bd3867916c" in SCRIPTS


@pytest.mark.parametrize("tamper", STRANGE, ids=lambda tamper: tamper.__name__)
def test_a_folder_from_elsewhere_is_refused_by_name_before_anything_of_it_runs(folder, trap, tamper):
    tamper(folder, *trap)
    readers = (check_folder, model_digest, load_model, lambda place: Contender.load("champion v3", place, COLUMNS))
    for read in readers:
        with pytest.raises(RatchetError, match="is not a model folder of ours: ") as caught:
            read(folder)
        assert STRANGE[tamper] in caught.value.message and "restore the folder" in caught.value.remedy


@pytest.mark.slow
@pytest.mark.parametrize("tamper", [another_loader, another_script, a_code_path_elsewhere], ids=lambda t: t.__name__)
def test_a_model_server_refuses_it_too(folder, trap, tamper):
    tamper(folder, *trap)
    command = [sys.executable, "-m", "kfp_ratchet.components.deploy.server", str(folder), "--listen", "127.0.0.1:0"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0 and STRANGE[tamper] in done.stderr


def test_the_trap_would_snap(folder, tmp_path):
    """The tests above prove something only if loading such a folder without the check does run its code."""
    import mlflow.pyfunc

    mark = tmp_path / "snapped"
    (folder / "served.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    with pytest.raises(Exception, match=r"(?i)set_model|model"):
        mlflow.pyfunc.load_model(str(folder))
    assert mark.exists()


@pytest.mark.parametrize("name", ["evil:Evil", "torch:serialization", "joblib:numpy_pickle"])
def test_a_card_that_names_another_class_is_another_model(folder, trap, name):
    before = model_digest(folder)
    card = json.loads((folder / "ratchet.json").read_text())
    (folder / "ratchet.json").write_text(json.dumps({**card, "workload": name}))
    assert model_digest(folder) != before, "a digest that is trusted must not let another class in"


def test_a_module_that_only_has_a_load_is_no_workload(folder):
    card = json.loads((folder / "ratchet.json").read_text())
    (folder / "ratchet.json").write_text(json.dumps({**card, "workload": "torch:serialization"}))
    with pytest.raises(RatchetError, match="'torch:serialization' is not a class with search_space, fit, predict"):
        load_model(folder)


@pytest.mark.slow
def test_a_champion_that_was_changed_in_the_registry_is_refused_before_it_runs(folder, trap, tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    digest = model_digest(folder)
    version = registry.register(uri, "rows", folder, digest, {}, {}, {}, "run-1")
    (kept,) = (tmp_path / "mlartifacts").rglob("ratchet.json")
    card = json.loads(kept.read_text())
    kept.write_text(json.dumps({**card, "workload": "evil:Evil"}))
    with pytest.raises(
        RatchetError, match=f"version {version} of rows in MLflow at .* not {digest} as the ledger says"
    ):
        registry.fetch(uri, "rows", version, digest, tmp_path / "fetched")
    kept.write_text(json.dumps(card))
    another_loader(kept.parent, *trap)
    with pytest.raises(RatchetError, match="MLmodel sets loader_module to 'evil'"):
        registry.fetch(uri, "rows", version, digest, tmp_path / "fetched again")


def test_parquet_that_carries_a_pickle_is_only_data(tmp_path, trap):
    """pyarrow used to unpickle extension types on reading; their metadata is in the file's schema."""
    pickled = pickle.dumps(Touches(str(tmp_path / "it ran")), protocol=0)
    field = pa.field(
        "x",
        pa.int64(),
        metadata={b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": pickled},
    )
    schema = pa.schema([field], metadata={b"pandas": b'{"index_columns": ["__import__(\'evil\')"]}'})
    shape = write_table(pl.DataFrame({"x": [1]}), tmp_path / "data", "rows")
    pq.write_table(pa.table({"x": pa.array([1])}, schema=schema), tmp_path / "data" / "rows" / "part-00000.parquet")
    shape = shape.model_copy(update={"digest": ""})
    Dataset(revision="r", source="s", tables={"rows": shape}).write(tmp_path / "data")
    assert read_main(tmp_path / "data").shape == (1, 1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": NaN}', "NaN is not a finite number"),
        ('{"a": -Infinity}', "-Infinity is not a finite number"),
        ('{"a": 1e999}', "1e999 is not a finite number"),
        ("[" * 100_000, "nested too deeply"),
        (b"\xff\xfe{", "utf-16|codec|Expecting"),
    ],
)
def test_json_from_elsewhere_holds_no_surprise(text, says):
    with pytest.raises(ValueError, match=says):
        loads(text)
