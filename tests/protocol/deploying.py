"""A world in which the real ledger and the real roll-out deploy: a store, a serving target and a clock, all in memory.

Reading an entry that is there is no step: it never changes, so it does not matter when it is read.
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from interleaving import Turn

from kfp_ratchet.components.deploy import local, process, rollout
from kfp_ratchet.components.deploy.kubernetes import objects
from kfp_ratchet.components.deploy.kubernetes.api import Api, ConflictError
from kfp_ratchet.components.deploy.kubernetes.target import KubernetesLive, KubernetesTarget
from kfp_ratchet.components.deploy.live import give_up_dead
from kfp_ratchet.components.deploy.local import Live, LocalTarget
from kfp_ratchet.components.deploy.probe import Answered
from kfp_ratchet.components.deploy.serving import KubernetesServing, Serving
from kfp_ratchet.components.deploy.target import Launched, Served
from kfp_ratchet.components.shared import ledger as ledgers
from kfp_ratchet.components.shared.entry import MAKES_CHAMPION, Draft
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.ledger import Ledger
from kfp_ratchet.components.shared.store import Store

MODEL = "m"
EPOCH = 4
"""The champion's epoch after two deploys: two entries each."""


class Clock(datetime):
    """Stands still, so that the same schedule leaves the same bytes."""

    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)


class OneAfterAnother:
    """A thread pool without threads: starting them took most of the search's time."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __enter__(self) -> "OneAfterAnother":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    map = staticmethod(map)


def as_in_memory(patch: Any) -> None:
    """Patch what is not ledger or protocol: the clock, the processes that serve, and threads that read what is in memory."""
    patch.setattr(ledgers, "datetime", Clock)
    patch.setattr(ledgers, "ThreadPoolExecutor", OneAfterAnother)
    patch.setattr(local, "sync", lambda *_: None)
    patch.setattr(process, "open_to_clients", lambda server: None)


class World:
    """What all programs share.

    Args:
        remote: Whether all serve from one cluster, each on a machine of its own; else from this machine, behind its lock.
    """

    def __init__(self, remote: bool = False) -> None:
        self.remote = remote
        self.objects: dict[str, tuple[bytes, bool]] = {}
        """Content by key, and whether it is older than a lease."""
        self.live: Live | None = None
        self.serving: set[int] = set()
        self.pids = 0
        self.service = "null"
        """The remote target's Service, as JSON: read more often than written, and compared after every step."""
        self.pools: dict[str, int] = {}
        """Its Deployments, with their ledger entries."""
        self.locked_by = ""
        self.held: dict[str, tuple[Draft, ...]] = {}
        self.history: list[str] = []

    def state(self) -> Any:
        held = tuple(
            sorted((machine, *(each.model_dump_json() for each in held)) for machine, held in self.held.items())
        )
        remote = self.service, frozenset(self.pools.items())
        return hash((frozenset(self.objects.items()), self.live, frozenset(self.serving), self.locked_by, held, remote))

    def like(self, other: "World") -> None:
        """Begin as another world is now."""
        self.objects, self.live, self.serving, self.pids = (
            dict(other.objects),
            other.live,
            set(other.serving),
            other.pids,
        )
        self.service, self.pools = other.service, dict(other.pools)

    def is_answered(self) -> bool:
        """Whether whoever asks gets an answer."""
        if self.remote:
            service = json.loads(self.service)
            return service is not None and service["spec"]["selector"][objects.POOL] in self.pools
        return self.live is not None and self.live.pid in self.serving

    def died(self, name: str) -> None:
        """The kernel takes back a dead program's lock; the servers it started go on."""
        if self.locked_by == name:
            self.locked_by = ""

    def pass_a_lease(self) -> None:
        """Let so much time pass that whatever is in the store now counts as dead."""
        self.objects = {key: (content, True) for key, (content, _) in self.objects.items()}

    def ledger(self, turn: Turn | None = None) -> Ledger:
        """The ledger as one program sees it."""
        return Ledger(MemoryStore(self, turn), MODEL)


class MemoryStore(Store):
    """One program's view of the store."""

    def __init__(self, world: World, turn: Turn | None) -> None:
        self.uri = "memory"
        self._world = world
        self._turn = turn

    def _step(self, label: str, act: Callable[[], Any]) -> Any:
        return self._turn.take(label, act) if self._turn else act()

    def create(self, key: str, content: bytes) -> bool:
        def act() -> bool:
            if key in self._world.objects:
                return self._world.objects[key][0] == content
            self._world.objects[key] = content, False
            return True

        return bool(self._step(f"create {key} {content!r}", act))

    def get(self, key: str) -> bytes | None:
        if key in self._world.objects:
            return self._world.objects[key][0]
        found = self._step(f"get {key}", lambda: self._world.objects.get(key))
        return found[0] if found else None

    def keys(self, prefix: str) -> Iterator[str]:
        yield from self._step(f"list {prefix}", lambda: sorted(self._world.objects))

    def age(self, key: str) -> timedelta:
        return self._step(f"age {key}", lambda: rollout.LEASE * 2 if self._world.objects[key][1] else timedelta())


class _Folder:
    """As much of a path as `LocalTarget` writes `live.json` with."""

    def __init__(self, world: World, step: Callable[[str, Callable[[], Any]], Any]) -> None:
        self._world, self._step = world, step
        self._draft = ""

    def __truediv__(self, name: str) -> "_Folder":
        return self

    def write_text(self, text: str) -> None:
        self._draft = text

    def replace(self, _: "_Folder") -> None:
        self._world.live = Live.model_validate_json(self._draft)

    def unlink(self) -> None:
        self._step("unlink", lambda: setattr(self._world, "live", None))


class Target(LocalTarget):
    """The local target with a `live.json` in memory and servers that are numbers; what it decides is `LocalTarget`'s own."""

    def __init__(self, world: World, turn: Turn | None) -> None:
        super().__init__(Serving(), MODEL)
        self._world, self._turn = world, turn
        self._alone = False
        self.folder = _Folder(world, self._step)  # type: ignore[assignment]

    def _step(self, label: str, act: Callable[[], Any]) -> Any:
        return self._turn.take(label, act) if self._turn and not self._alone else act()

    @property
    def _me(self) -> str:
        return self._turn.name if self._turn else "later"

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        def take() -> bool:
            self._world.locked_by = self._world.locked_by or self._me
            return self._world.locked_by == self._me

        if not self._step("lock", take):
            raise RatchetError("another deploy is under way on this machine", "wait until it has ended")
        try:
            yield
        finally:
            if not (self._turn and self._turn.killed):
                self._world.locked_by = ""

    def hold(self, *started: Draft) -> None:
        self._step("hold", lambda: self._world.held.update({"": started}))

    def last_held(self, intent: Any) -> bool:
        held = self._world.held.get("", ())
        return any(each.run == intent.run and each.repeats(intent) for each in held)

    def live(self) -> Live | None:
        return self._step("live", lambda: self._world.live)

    def switch(self, live: Live) -> None:
        def act() -> None:
            self._alone = True
            try:
                super(Target, self).switch(live)
            finally:
                self._alone = False

        self._step(f"switch {live.version} {live.entry}", act)

    def stop_all_but(self, live: Live | None) -> list[int]:
        kept = {live.pid} if live else set()

        def act() -> None:
            self._world.serving &= kept

        self._step("stop all but", act)
        return []

    def stage(self, version: str, digest: str, fetch: Any) -> Any:
        return None

    def launch(self, made: Any, entry: int, previous: Any, probe: Any, say: Any = None) -> Launched[Live]:
        def act() -> int:
            self._world.pids += 1
            self._world.serving |= {self._world.pids}
            return self._world.pids

        pid = self._step(f"launch {made.version}", act)
        server = process.Server(pid, 0.0, "url", f"url-{pid}")
        live = Live.of(made, server, entry=entry, committed=False, previous=previous)
        return Launched(live, Answered(rows=1, max_difference=0.0), 0.0)

    def answers(self, live: Live) -> bool:
        return live.pid in self._world.serving

    def prune(self, keep: set[str]) -> None:
        pass


class MemoryApi(Api):
    """As much of an API server as the target asks: the Service with its version, and Deployments that are names."""

    def __init__(self, world: World, turn: Turn | None) -> None:
        self._world, self._turn = world, turn
        self.namespace, self.seconds = "n", 0.0

    def _step(self, label: str, act: Callable[[], Any]) -> Any:
        return self._turn.take(label, act) if self._turn else act()

    def get(self, path: str) -> Any:
        return self._step(f"get {path}", lambda: json.loads(self._world.service))

    def items(self, path: str, selector: str) -> Any:
        pools = self._step("list pools", lambda: sorted(self._world.pools.items()))
        return [{"metadata": {"name": name, "labels": {objects.ENTRY: str(entry)}}} for name, entry in pools]

    def create(self, path: str, made: Any) -> Any:
        return self._step("create service", lambda: self._put(made, None))

    def replace(self, path: str, changed: Any) -> Any:
        version = changed["metadata"]["resourceVersion"]
        return self._step(f"replace service {version}", lambda: self._put(changed, version))

    def delete(self, path: str) -> None:
        self._step(f"delete {path}", lambda: self._world.pools.pop(path.rpartition("/")[2], None))

    def _put(self, made: Any, version: str | None) -> Any:
        service = json.loads(self._world.service)
        there = service["metadata"]["resourceVersion"] if service else None
        if there != version:
            raise ConflictError("it was changed")
        metadata = made["metadata"] | {"resourceVersion": str(int(there or 0) + 1)}
        self._world.service = json.dumps(made | {"metadata": metadata})


class RemoteTarget(KubernetesTarget):
    """The real Kubernetes target, but for pods: they are there at once. Nothing is kept for a rollback, so that much is removed."""

    def __init__(self, world: World, turn: Turn | None) -> None:
        self._world = world
        super().__init__(KubernetesServing(keep_minutes=0), MODEL, api=MemoryApi(world, turn))

    def stage(self, version: str, digest: str, fetch: Any) -> None:
        return None

    def launch(self, made: Any, entry: int, previous: Any, probe: Any, say: Any = None) -> Launched[KubernetesLive]:
        pool = objects.pool_name(MODEL, made.version, entry)
        api = self.api
        assert isinstance(api, MemoryApi)
        api._step(f"launch {pool}", lambda: self._world.pools.update({pool: entry}))
        fields = {"url": "url", "entry": entry, "committed": False, "previous": previous, "pool": pool}
        live = KubernetesLive(version=made.version, digest=made.digest, **fields)
        return Launched(live, Answered(rows=1, max_difference=0.0), 0.0)

    def open(self, live: KubernetesLive, probe: Any, say: Any = None) -> None:
        return None

    def answers(self, live: KubernetesLive) -> bool:
        return live.pool in self._world.pools


def target_in(world: World, turn: Turn | None = None) -> Any:
    """Where one program deploys to."""
    return (RemoteTarget if world.remote else Target)(world, turn)


def promotion(version: str, epoch: int, run: str, **fields: Any) -> Draft:
    """A promotion that the gate allowed."""
    fields = {"kind": "promote", "decision_digest": f"decision-{version}"} | fields
    return Draft(version=version, digest=f"sha256:{version}", epoch=epoch, run=run, **fields)


def deploy(world: World, turn: Turn | None, draft: Draft) -> str:
    """What the step `deploy` does."""
    target = target_in(world, turn)
    done = rollout.roll_out(world.ledger(turn), target, draft, lambda into: into, None)
    return f"live {done.entry.version}"


_judged: dict[frozenset[Any], str | None] = {}


def wrong_in_ledger(world: World) -> str | None:
    """What is wrong with the ledger by itself."""
    objects = frozenset((key, content) for key, (content, _) in world.objects.items())
    if objects not in _judged:
        _judged[objects] = _wrong_in(world.ledger())
    return _judged[objects]


def _wrong_in(ledger: Ledger) -> str | None:
    problems = ledger.verify()
    if problems:
        return problems[0]
    champion, intent = 0, 0
    by_number = {entry.number: entry for entry in ledger.entries()}
    for entry in by_number.values():
        if entry.answers and by_number[entry.answers].epoch != champion:
            return f"entry {entry.number} answers what was judged against {by_number[entry.answers].epoch}"
        if entry.kind in MAKES_CHAMPION:
            if entry.epoch != champion:
                return f"entry {entry.number} replaces champion {champion}, but was judged against {entry.epoch}"
            if entry.intent != intent or not intent:
                return f"entry {entry.number} commits deploy {entry.intent}, but {intent} is open"
            champion, intent = entry.number, 0
        elif entry.kind == "deploy-started":
            intent = entry.number
        elif entry.intent and entry.intent == intent:
            intent = 0
    return None


def wrong_in_serving(world: World) -> str | None:
    """What is wrong with what serves, once nobody works any more and the next command has settled things."""
    ledger, target = world.ledger(), target_in(world)
    world.pass_a_lease()
    give_up_dead(ledger, target)
    live: Served | None = target.settle(ledger)
    made = ledger.made()
    if made is None:
        return f"version {live.version} is live without a champion" if live else None
    if live is None or live.digest != made.digest:
        return f"version {live.version if live else None} is live, but the ledger says {made.version}"
    if not world.is_answered():
        return f"nothing answers for version {live.version}"
    return None
