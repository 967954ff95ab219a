"""A world to die in: a real ledger, registry and serving folder, and a table of model servers that outlive whoever started them.

Every write of a step or command passes a `Faults`, which can end the "process" just before or just after any of them; from then on no
write of it takes effect any more, whatever its handlers try. Only the servers are not real: entries of a table that answer by HTTP.
"""

import itertools
import json
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kfp_ratchet.components.approve.approving import approve_version
from kfp_ratchet.components.deploy import process
from kfp_ratchet.components.deploy.by_hand import Place
from kfp_ratchet.components.deploy.deployment import deploy_version
from kfp_ratchet.components.deploy.live import ensure
from kfp_ratchet.components.deploy.local import LocalTarget
from kfp_ratchet.components.deploy.probe import Probe, ask
from kfp_ratchet.components.deploy.serving import Serving
from kfp_ratchet.components.register.registration import register_model
from kfp_ratchet.components.shared import lease, registry
from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.shared.decision import Decision
from kfp_ratchet.components.shared.evidence import evidence_digest
from kfp_ratchet.components.shared.ledger import MAKES_CHAMPION, Ledger
from kfp_ratchet.components.shared.model import Card, model_digest
from kfp_ratchet.components.shared.store import Store

MODEL = "line"
ONCE = {"promote", "reject", "inconclusive", "pending", "approve", "deny", "force", "rollback"}


class Death(BaseException):
    """The process is killed: no handler may take it for a failure that it could put right."""


class Faults:
    """Counts writes, and kills at one of them."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.at, self.when = 0, ""
        self.dead = False

    def write(self, name: str, do: Callable[[], Any]) -> Any:
        if self.dead:
            raise Death
        self.seen.append(name)
        here = len(self.seen) == self.at
        if here and self.when == "before":
            self._die()
        result = do()
        if here:
            self._die()
        return result

    def _die(self) -> None:
        self.dead = True
        raise Death


@dataclass
class Server:
    """A model server in the table."""

    folder: Path
    slope: float


class Servers:
    """The table of running servers, and one HTTP server that answers for them all under `/<pid>`."""

    def __init__(self) -> None:
        self.table: dict[int, Server] = {}
        self._pids = itertools.count(1000)
        servers = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer(lambda pid, server: {"pid": pid, "open": True})

            def do_POST(self) -> None:
                rows = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["dataframe_split"]["data"]
                self._answer(lambda pid, server: {"predictions": [server.slope * row[0] for row in rows]})

            def _answer(self, said: Callable[[int, Server], Any]) -> None:
                pid = int(self.path.split("/")[1])
                server = servers.table.get(pid)
                body = json.dumps(said(pid, server)).encode() if server else b""
                self.send_response(200 if server else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def start(self, model: Path, port: int, log: Path, image: str = "") -> process.Server:
        weights = json.loads((model / "artifacts" / "workload" / "weights.json").read_text())
        pid = next(self._pids)
        self.table[pid] = Server(model.resolve(), weights["slope"])
        log.touch()
        return process.Server(pid, float(pid), f"{self.url}/{pid}", f"{self.url}/{pid}")

    def find(self, pid: int, started: float) -> SimpleNamespace | None:
        return SimpleNamespace(pid=pid) if pid in self.table else None

    def running(self, folder: Path) -> list[SimpleNamespace]:
        inside = folder.resolve()
        return [SimpleNamespace(pid=pid) for pid, one in self.table.items() if one.folder.is_relative_to(inside)]

    def stop(self, processes: Any) -> None:
        for each in list(processes):
            self.table.pop(each.pid, None)


def card(slope: float) -> Card:
    return Card(
        workload="line:Line",
        parameters={"slope": slope},
        columns=Columns(target="y", problem="regression"),
        features={"x": "Float64"},
        revision=f"sha256:{slope:g}",
        window={},
        split_rule="hash",
        rows=10,
        seed=0,
        device="cpu",
    )


class World:
    """One model's store, registry, serving folder and servers, which can be put back to how they stood."""

    def __init__(self, folder: Path, keep_versions: int = 1) -> None:
        self.folder = folder / "world"
        self.inputs = folder / "inputs"
        self._saved = folder / "saved"
        self.folder.mkdir(exist_ok=True)
        self.template = folder / "template"
        self.store = str(self.folder / "store")
        self.tracking_uri = f"sqlite:///{folder}/mlflow.db"
        self._database = folder / "mlflow.db"
        self.serving = Serving(folder=str(self.folder / "serving"), keep_versions=keep_versions)
        self.place = Place(self.store, MODEL, self.tracking_uri, self.serving)
        self._kept: dict[str, dict[int, Server]] = {}

    @cached_property
    def servers(self) -> Servers:
        return Servers()

    @property
    def ledger(self) -> Ledger:
        return Ledger(Store(self.store), MODEL)

    @property
    def target(self) -> LocalTarget:
        return LocalTarget(self.serving, MODEL)

    @property
    def epoch(self) -> int:
        champion = self.ledger.champion()
        return champion.epoch if champion else 0

    def save(self, name: str) -> None:
        kept = self._saved / name
        shutil.copytree(self.folder, kept / "world")
        if self._database.exists():
            _copy_database(self._database, kept / "mlflow.db")
            if (artifacts := self._database.parent / "mlartifacts").exists():
                shutil.copytree(artifacts, kept / "mlartifacts")
        self._kept[name] = dict(self.servers.table)

    def restore(self, name: str) -> None:
        kept, artifacts = self._saved / name, self._database.parent / "mlartifacts"
        for there, from_kept in ((self.folder, kept / "world"), (artifacts, kept / "mlartifacts")):
            shutil.rmtree(there, ignore_errors=True)
            if from_kept.exists():
                shutil.copytree(from_kept, there)
        # By SQLite itself, and never a new file: MLflow keeps connections.
        _copy_database(kept / "mlflow.db", self._database)
        self.servers.table = dict(self._kept[name])

    def candidate(self, slope: float) -> Path:
        """A model y = slope * x with the evidence and everything else that a run would have of it."""
        made = self.inputs / f"{slope:g}"
        if made.exists():
            return made
        rows = {"columns": ["x"], "data": [[1.0], [2.5]]}
        if self.template.exists():
            shutil.copytree(self.template, made / "model")
        else:
            (made / "model" / "artifacts" / "workload").mkdir(parents=True)
            (made / "model" / "serving_input_example.json").write_text(json.dumps({"dataframe_split": rows}))
            card(slope).write(made / "model")
        (made / "model" / "artifacts" / "workload" / "weights.json").write_text(json.dumps({"slope": slope}))
        evidence = made / "evidence"
        evidence.mkdir()
        (evidence / "rows.parquet").write_bytes(b"rows")
        (evidence / "evidence.json").write_text(json.dumps({"slope": slope}))
        probe = Probe(rows=rows, scores=[slope, 2.5 * slope])
        (evidence / "probe.json").write_text(probe.model_dump_json())
        return made

    def decision(self, slope: float, verdict: str, epoch: int, **policy: str) -> Path:
        made = self.candidate(slope)
        path = made / f"{verdict}-{'-'.join(policy.values())}.json"
        decided = Decision(
            verdict=verdict,
            reason=f"it is {slope:g}",
            candidate_digest=model_digest(made / "model"),
            champion_digest=self.ledger.entry(epoch).digest if epoch else "",
            evidence_digest=evidence_digest(made / "evidence"),
            revision=f"sha256:{slope:g}",
            accepted_rows=9,
            policy=policy,
        )
        path.write_text(decided.model_dump_json())
        return path

    def run(self, slope: float, epoch: int, run: str, verdict: str = "promote", **policy: str) -> None:
        """What register and deploy do in one pipeline run."""
        made, decision, root = (
            self.candidate(slope),
            self.decision(slope, verdict, epoch, **policy),
            self.folder / "runs" / run,
        )
        version = register_model(
            str(made / "model"),
            f"{root}/train/model",
            str(made / "evidence"),
            f"{root}/evaluate/evidence",
            str(decision),
            f"{root}/gate/decision",
            MODEL,
            self.tracking_uri,
            self.store,
            epoch,
            "{}",
            str(root / "register" / "registration"),
            f"{root}/register/registration",
        )
        if verdict == "promote":
            deploy_version(
                str(made / "evidence"),
                f"{root}/evaluate/evidence",
                str(decision),
                f"{root}/gate/decision",
                MODEL,
                version,
                self.tracking_uri,
                self.store,
                epoch,
                self.serving.model_dump_json(),
                str(root / "deploy" / "deployment"),
                f"{root}/deploy/deployment",
            )

    def approve(self, version: str, by: str, run: str) -> None:
        """What the step `approve` does."""
        path = str(self.folder / "runs" / run / "approve" / "deployment")
        approve_version(
            MODEL, version, by, "fine", self.store, self.tracking_uri, self.serving.model_dump_json(), path, path
        )

    def ensure(self) -> None:
        ensure(self.store, MODEL, self.tracking_uri, self.serving)

    @contextmanager
    def faults(self, at: int = 0, when: str = "") -> Iterator[Faults]:
        """Let every write pass a `Faults` that kills at write number `at`."""
        faults = Faults()
        faults.at, faults.when = at, when
        with pytest.MonkeyPatch.context() as patch:
            _watch(patch, faults, self)
            yield faults

    @contextmanager
    def process(self) -> Iterator[None]:
        """Another process on this machine: servers are those of the table, its pid is its own and gone when it is."""
        with pytest.MonkeyPatch.context() as patch:
            for name in ("start", "find", "running", "stop"):
                patch.setattr(process, name, getattr(self.servers, name))
            # No process has this pid, so whoever finds its lease finds it dead.
            mine = SimpleNamespace(getpid=lambda: 2**22 + 1, kill=os.kill)
            patch.setattr(lease, "os", mine)
            yield

    def problems(self, is_over: bool = True, is_registered: bool = True) -> list[str]:
        """What is wrong: not exactly one live version, not the ledger's, aliases that differ, anything doubled.

        Args:
            is_over: Whether nothing is to be finished any more; else a deploy may be open and MLflow be behind.
            is_registered: Whether no candidate may be half registered.
        """
        ledger, there = self.ledger, self.target.live()
        champion, found = ledger.champion(), list(ledger.verify())
        served = there.version if there else None
        running = [each.pid for each in process.running(self.target.folder)]
        if served != (champion.version if champion else None):
            found.append(f"the ledger says {champion}, live.json {there}")
        if there is not None:
            if not there.committed or there.previous is not None or there.epoch != champion.epoch:
                found.append(f"live.json is not settled: {there}")
            if running != [there.pid]:
                found.append(f"servers {running} run, live is {there.pid}")
            elif ask(there.url, {"columns": ["x"], "data": [[2.0]]}) != [2 * self.slope_of(there.digest)]:
                found.append("another model answers than the ledger names")
        elif running:
            found.append(f"nothing is live, but {running} run")
        said = [(e.kind, e.version, e.decision_digest, e.epoch) for e in ledger.entries() if e.kind in ONCE]
        found += [f"{one} is in the ledger twice" for one in set(said) if said.count(one) > 1]
        epochs = [e.epoch for e in ledger.entries() if e.kind in MAKES_CHAMPION]
        found += [f"epoch {one} has two successors" for one in set(epochs) if epochs.count(one) > 1]
        if is_over:
            if ledger.open_intent() is not None:
                found.append(f"open: {ledger.open_intent()}")
            found += self._registry_problems(is_registered)
        return found

    def _registry_problems(self, is_registered: bool) -> list[str]:
        found, lineage = [], [entry.version for entry in self.ledger.lineage()]
        with registry.connected(self.tracking_uri) as client:
            aliases = {name: str(version) for name, version in client.get_registered_model(MODEL).aliases.items()}
            versions = client.search_model_versions(f"name = '{MODEL}'")
            runs = client.search_runs([client.get_experiment_by_name(MODEL).experiment_id])
        digests = [version.tags[registry.DIGEST_TAG] for version in versions]
        if len(set(digests)) != len(digests) or (is_registered and len(runs) != len(versions)):
            found.append(f"{len(versions)} versions and {len(runs)} runs of {len(set(digests))} models")
        wanted = dict(zip(("champion", "previous"), reversed(lineage), strict=False))
        if {name: aliases.get(name) for name in ("champion", "previous")} != {
            name: wanted.get(name) for name in ("champion", "previous")
        }:
            found.append(f"aliases {aliases}, lineage {lineage}")
        return found

    def slope_of(self, digest: str) -> float:
        return next(float(path.name) for path in self.inputs.iterdir() if model_digest(path / "model") == digest)


def _copy_database(source: Path, target: Path) -> None:
    with sqlite3.connect(source) as there, sqlite3.connect(target) as here:
        here.execute("PRAGMA synchronous=OFF")
        there.backup(here)
    there.close()
    here.close()


_CLIENT_WRITES = (
    "create_experiment",
    "create_run",
    "log_artifacts",
    "log_param",
    "log_metric",
    "set_tag",
    "create_registered_model",
    "create_model_version",
    "set_model_version_tag",
    "delete_model_version_tag",
    "set_registered_model_tag",
    "set_registered_model_alias",
    "delete_registered_model_alias",
    "set_terminated",
)


def _watch(patch: pytest.MonkeyPatch, faults: Faults, world: World) -> None:
    from mlflow import MlflowClient

    def watch(owner: Any, name: str, told: Callable[..., str], only: Callable[..., bool] = lambda *_: True) -> None:
        real = getattr(owner, name)

        def watched(*arguments: Any, **keywords: Any) -> Any:
            if not only(*arguments):
                return real(*arguments, **keywords)
            return faults.write(told(*arguments), lambda: real(*arguments, **keywords))

        patch.setattr(owner, name, watched)

    def ours(path: Any, *_: Any) -> bool:
        return Path(path).is_relative_to(world.folder) and not Path(path).is_relative_to(world.store)

    for name in ("create", "put", "delete", "upload"):
        watch(Store, name, lambda store, key, *_, name=name: f"store {name} {key}")
    for name in ("write_text", "write_bytes", "replace", "unlink", "mkdir"):
        watch(Path, name, lambda path, *_, name=name: f"{name} {path.name}", ours)
    watch(shutil, "rmtree", lambda path, *_: f"rmtree {Path(path).name}", ours)
    watch(registry, "fetch", lambda *_: "fetch")
    for name in ("start", "stop", "open_to_clients"):
        watch(process, name, lambda *_, name=name: f"process {name}")
    for name in _CLIENT_WRITES:
        watch(MlflowClient, name, lambda client, *rest, name=name: f"mlflow {name}")


@pytest.fixture
def new_world():
    """Makes a world of its own in a folder, without the table of servers."""
    return World


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    # Processes die here, machines do not: what the disk has really written matters to no test, and waiting for it takes most of the time.
    def in_memory_of_the_machine(connection, _):
        connection.execute("PRAGMA synchronous=OFF")

    event.listen(Engine, "connect", in_memory_of_the_machine)
    made = World(tmp_path_factory.mktemp("crash"))
    yield made
    event.remove(Engine, "connect", in_memory_of_the_machine)
    made.servers.close()
