"""The serving target on this machine: a folder with the served versions and `live.json`, which says what is live."""

import contextlib
import fcntl
import json
import math
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from pydantic import Field, TypeAdapter, ValidationError

from kfp_ratchet.components.deploy import process
from kfp_ratchet.components.deploy.container import SERVE_IMAGE
from kfp_ratchet.components.deploy.probe import Answered, Probe, ask, check
from kfp_ratchet.components.deploy.serving import Serving
from kfp_ratchet.components.deploy.target import Fetch, Launched, Say, Served, Target
from kfp_ratchet.components.shared.durable import sync
from kfp_ratchet.components.shared.entry import Draft, Entry
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.model import model_digest

_HELD = TypeAdapter(list[Draft])


class Live(Served):
    """What `live.json` says."""

    private_url: str = Field(description="Where this very process answers.")
    pid: int
    started: float = Field(description="When the process was created, seconds since 1970.")
    image: str = Field(
        default="", description="Container image that the server runs in; empty when it is no container."
    )

    @classmethod
    def of(cls, made: Draft, server: process.Server, **more: Any) -> Self:
        """A version that a server serves; `more` are the other fields."""
        return cls(version=made.version, digest=made.digest, **asdict(server), **more)

    @property
    def server(self) -> process.Server:
        """The process behind it."""
        return process.Server(self.pid, self.started, self.url, self.private_url, self.image)


class LocalTarget(Target[Live]):
    """A model's place in the serving folder.

    Args:
        serving: The settings.
        model: Registered name of the model, already checked.
    """

    def __init__(self, serving: Serving, model: str) -> None:
        self.serving = serving
        self.model = model
        self.folder = Path(serving.folder).absolute() / model
        self.keep_versions = serving.keep_versions

    @property
    def place(self) -> str:
        """The file that says what is live."""
        return str(self.folder / "live.json")

    @property
    def exists(self) -> bool:
        """Whether anything was ever served here."""
        return self.folder.is_dir()

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other deploys on this machine out; the lock goes with the process that holds it.

        Raises:
            RatchetError: Another one is under way.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RatchetError(
                    f"another deploy of {self.model} is under way on this machine ({self.folder})",
                    "wait until it has ended, then try again",
                ) from None
            yield

    def hold(self, *started: Draft) -> None:
        """Note in the lock, before it is in the ledger, what its holder is about to deploy, and what it takes over for that."""
        (self.folder / "lock").write_bytes(_HELD.dump_json(list(started)))

    def last_held(self, intent: Entry) -> bool:
        """Whether the last holder of the lock wrote this deploy-started entry: it is dead, if we hold the lock and the entry is open."""
        try:
            held = _HELD.validate_json((self.folder / "lock").read_bytes())
        except ValidationError:
            return False
        return any(each.run == intent.run and each.repeats(intent) for each in held)

    def live(self) -> Live | None:
        """What is live, None when nothing ever was.

        Raises:
            RatchetError: `live.json` cannot be read.
        """
        path = self.folder / "live.json"
        try:
            return Live.model_validate_json(path.read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            reason = str(error.errors()[0]["msg"]) if isinstance(error, ValidationError) else str(error)
            raise RatchetError(
                f"{path} is unreadable: {reason}", "delete it; `ratchet status --start` brings the champion back"
            ) from error

    def switch(self, live: Live) -> None:
        """Make something live: replace `live.json` whole.

        Raises:
            RatchetError: A later ledger entry has already shaped what is live.
        """
        there = self.live()
        if there is not None and live.entry < there.entry:
            raise RatchetError(
                f"ledger entry {live.entry} may not change what entry {there.entry} made live in {self.folder}",
                "another deploy came between; nothing was changed",
            )
        draft = self.folder / "live.json.new"
        draft.write_text(live.model_dump_json(indent=1))
        sync(draft)
        draft.replace(self.folder / "live.json")
        sync(self.folder)

    def clear(self) -> None:
        """Make nothing live."""
        (self.folder / "live.json").unlink()

    def stop_all_but(self, live: Live | None) -> list[int]:
        """Stop this model's servers except the live one; returns the pids of those stopped."""
        kept = live.pid if live is not None else None
        others = [each for each in process.running(self.folder) if each.pid != kept]
        process.stop(others)
        return [each.pid for each in others]

    def stage(self, version: str, digest: str, fetch: Fetch) -> Path:
        """Have a version's model folder here, whole and verified."""
        folder = self.version_folder(version)
        model = folder / "model"
        if model.is_dir() and _is(model, digest):
            return model
        shutil.rmtree(folder, ignore_errors=True)
        draft = folder.with_name(f".{version}")
        shutil.rmtree(draft, ignore_errors=True)
        fetched = fetch(draft / "fetched")
        folder.mkdir(parents=True)
        fetched.replace(model)
        shutil.rmtree(draft)
        return model

    def launch(
        self, made: Draft, entry: int, previous: Live | None, probe: Probe | None, say: Say = lambda line: None
    ) -> Launched[Live]:
        """Start a staged version and check its health and its answers; it takes no clients of the fixed port yet.

        Without a probe it is asked for the rows kept from its deploy, else for the model's own example.
        """
        version = made.version
        folder = self.version_folder(version)
        log, kept = folder / "server.log", folder / "probe.json"
        if probe is not None:
            draft = folder / "probe.json.new"
            draft.write_text(probe.model_dump_json())
            draft.replace(kept)
        elif kept.is_file():
            probe = Probe.read(kept)
        say(f"v{version}: starting its server")
        server = process.start(folder / "model", self.serving.port, log, self._image())
        seconds = process.wait_ready(server, log, self.serving.startup_seconds)
        say(f"v{version}: answers after {seconds} s; comparing its answers")
        url = server.private_url
        answered = check(url, probe) if probe is not None else _ask_example(url, folder / "model")
        return Launched(Live.of(made, server, entry=entry, committed=False, previous=previous), answered, seconds)

    def open(self, live: Live, probe: Probe | None, say: Say = lambda line: None) -> None:
        """Let a server take requests on the clients' port as well."""
        process.open_to_clients(live.server)

    def answers(self, live: Live) -> bool:
        """Whether the live server's own process answers clients."""
        return process.find(live.pid, live.started) is not None and process.is_open(live.server)

    def strangers(self) -> list[int]:
        """The pids of servers that `live.json` does not know of and no deploy under way has started."""
        if not self._unknown():
            return []
        try:
            with self.lock():
                return self._unknown()
        except RatchetError:
            return []  # A deploy is under way.

    def stop(self) -> list[int]:
        """Stop all servers; returns their pids."""
        if not self.exists:
            return []
        with self.lock():
            return self.stop_all_but(None)

    def _unknown(self) -> list[int]:
        live = self.live()
        known = {each.pid for each in (live, live.previous if live else None) if each}
        return [each.pid for each in process.running(self.folder) if each.pid not in known]

    def _image(self) -> str:
        """What the next server runs in: what the run says, else, in a command by hand, the same as the live one."""
        if (said := os.environ.get(SERVE_IMAGE)) is not None:
            return said
        live = self.live()
        return live.image if live is not None else ""

    def version_folder(self, version: str) -> Path:
        """Where a version lies.

        Raises:
            RatchetError: The version cannot be the name of a folder.
        """
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", version):
            raise RatchetError(f"{version!r} is not a version of {self.model}")
        return self.folder / "versions" / version

    def prune(self, keep: set[str]) -> None:
        """Remove the folders of all versions but these."""
        for folder in (self.folder / "versions").iterdir():
            if folder.name not in keep:
                shutil.rmtree(folder)


def _is(model: Path, digest: str) -> bool:
    """Whether a staged folder is still the model that was staged."""
    try:
        return model_digest(model) == digest
    except RatchetError:
        return False


def _ask_example(url: str, model: Path) -> Answered:
    """Ask for the example kept in the model folder: answered and finite is all that can be checked.

    Raises:
        RatchetError: There is none, or no finite answer to it.
    """
    try:
        rows = json.loads((model / "serving_input_example.json").read_text())["dataframe_split"]
    except (OSError, ValueError, KeyError) as error:
        raise RatchetError(f"{model} holds no example to ask its server with: {error}") from error
    answers = ask(url, rows)
    flat = [value for answer in answers for value in (answer.values() if isinstance(answer, dict) else [answer])]
    if not flat or not all(isinstance(value, int | float) and math.isfinite(value) for value in flat):
        raise RatchetError(f"the model server answers {answers} to the model's own example")
    return Answered(rows=len(answers), max_difference=0.0)
