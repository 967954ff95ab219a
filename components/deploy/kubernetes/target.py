"""The serving target on Kubernetes: a Deployment for each deploy, and one Service that says what is live and sends clients there.

Selector and record of the Service change in one write, on the condition that it is still the Service that was read. So what is on record
is what clients reach, and of two writers one is told that the other came first.
"""

import contextlib
import copy
import time
from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import Field, ValidationError

from kfp_ratchet.components.deploy.kubernetes import objects
from kfp_ratchet.components.deploy.kubernetes.api import Api, ConflictError, Object
from kfp_ratchet.components.deploy.kubernetes.pods import restarts, wait_available
from kfp_ratchet.components.deploy.probe import Answered, Probe, ask, compare, question
from kfp_ratchet.components.deploy.serving import Canary, KubernetesServing
from kfp_ratchet.components.deploy.target import Fetch, Launched, Pods, Say, Served, Target
from kfp_ratchet.components.shared.entry import Draft
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.ledger import Ledger

_ATTEMPTS = 5
_REACHED_SECONDS = 20
"""How long it may take until the nodes send requests to a pod that is ready."""
_BEAT_SECONDS = 1.0


class KubernetesLive(Served):
    """What the Service's annotation says."""

    pool: str = Field(description="The Deployment whose pods clients reach.")
    former: str = Field(default="", description="The Deployment that is kept for a quick rollback.")
    since: float = Field(
        default=0.0, description="Since when that one is former, by the API server's clock, since 1970."
    )


class MovedError(RatchetError):
    """What is live is not what was last seen."""


class KubernetesTarget(Target[KubernetesLive]):
    """A model's Service and Deployments.

    No lock keeps other machines out. Three rules do instead: a switch with a smaller entry than the one on record is refused; so is one
    from something else than what was last seen here; and a Deployment is removed only after the record was moved past the entry that
    might still switch to it.

    Args:
        serving: The settings.
        model: Registered name of the model, already checked.
        tracking_uri: MLflow tracking URI, as pods reach it.
        api: The API server; the one that the surroundings name when None.
    """

    is_shared: ClassVar[bool] = True

    def __init__(self, serving: KubernetesServing, model: str, tracking_uri: str = "", api: Api | None = None) -> None:
        self.serving = serving
        self.model = model
        self.tracking_uri = tracking_uri
        self.name = objects.service_name(model)
        self.api = api or Api(serving.namespace)
        self._seen: KubernetesLive | None = None
        self._ended = 0

    @property
    def place(self) -> str:
        """The Service."""
        return f"Service {self.api.namespace}/{self.name}"

    @property
    def exists(self) -> bool:
        """Whether there is a Service."""
        return self._service() is not None

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Nobody is kept out; see the class."""
        yield

    def live(self) -> KubernetesLive | None:
        """What is live, None when nothing ever was; a switch is from this.

        Raises:
            RatchetError: The Service is not ours, or its record cannot be read.
        """
        self._seen = self._record(self._service())
        return self._seen

    def switch(self, live: KubernetesLive) -> None:
        """Make something live: one write to the Service.

        Raises:
            RatchetError: A later ledger entry has already shaped what is live.
            MovedError: Another deploy has come between.
        """
        self._write(self._dated(live))

    def clear(self) -> None:
        """Make nothing live; the Service keeps its addresses."""
        self._write(None)

    def stage(self, version: str, digest: str, fetch: Fetch) -> None:
        """Nothing: pods fetch the model themselves.

        Raises:
            InputError: They could not, or no image is named.
        """
        if not self.tracking_uri.startswith(("http://", "https://")):
            raise InputError(
                f"pods cannot fetch a model from tracking_uri {self.tracking_uri!r}", "name an MLflow server: http://…"
            )
        if not self.serving.image:
            raise InputError("serving.image is not set", "name the image `serve`; see docs/images.md")

    def launch(
        self,
        made: Draft,
        entry: int,
        previous: KubernetesLive | None,
        probe: Probe | None,
        say: Say = lambda line: None,
    ) -> Launched[KubernetesLive]:
        """Have pods of a version, wait until they are ready, and compare their answers.

        Those of the former champion are taken where they are still kept. Without a probe, ready is all that is asked.
        """
        wanted = objects.deployment(self.serving, self.model, made, entry, self.tracking_uri)
        pool = self._kept(wanted, previous)
        if pool:
            say(f"v{made.version}: its pods are still there ({pool})")
            applied: Object = self._deployment(pool) or {}
        else:
            pool = str(wanted["metadata"]["name"])
            say(f"v{made.version}: starting Deployment {pool}")
            applied = self._applied(wanted)
        seconds = self._ready(applied, self.serving.startup_seconds, say)
        say(f"v{made.version}: ready after {seconds} s; comparing its answers")
        answered = compare(self._asked(pool, probe), probe) if probe else Answered(rows=0, max_difference=0.0)
        if self.serving.canary and previous is not None and previous.digest != made.digest:
            self._try_canary(self.serving.canary, made, entry, previous, probe, seconds, say)
        live = KubernetesLive(
            version=made.version,
            digest=made.digest,
            url=f"http://{self.name}.{self.api.namespace}.svc",
            entry=entry,
            committed=False,
            previous=previous,
            pool=pool,
        )
        return Launched(live, answered, seconds)

    def open(self, live: KubernetesLive, probe: Probe | None, say: Say = lambda line: None) -> None:
        """Watch what clients reach now: its answers, how long they take, and whether its pods go on.

        Raises:
            RatchetError: A pod ends, or an answer is missing, wrong or late.
        """
        if not self.serving.bake_seconds:
            return
        say(f"v{live.version}: takes clients; watching it for {self.serving.bake_seconds} s")
        self._watch(live.version, live.pool, self.serving.bake_seconds, probe)

    def answers(self, live: KubernetesLive) -> bool:
        """Whether the Service points to a Deployment that has pods ready."""
        service, pods = self._service(), self._deployment(live.pool)
        points = service is not None and service["spec"].get("selector") == {objects.POOL: live.pool}
        return points and bool(pods and pods.get("status", {}).get("availableReplicas"))

    def pods(self, live: KubernetesLive) -> Pods | None:
        """Those of the live Deployment; None when it is gone."""
        found = self._deployment(live.pool)
        if found is None:
            return None
        return Pods(
            deployment=live.pool,
            image=found["spec"]["template"]["spec"]["containers"][0]["image"],
            ready=found.get("status", {}).get("readyReplicas", 0),
            replicas=found["spec"]["replicas"],
        )

    def settle(self, ledger: Ledger) -> KubernetesLive | None:
        """The same as everywhere, again where another one was settling, too."""
        for _ in range(_ATTEMPTS):
            length, intent = ledger.length(), ledger.open_intent()
            self._ended = intent.number - 1 if intent else length
            with contextlib.suppress(MovedError):
                super().settle(ledger)
                return self._seen
        raise MovedError(f"{self.place} changes all the time", "wait until other deploys have ended, then try again")

    def stop_all_but(self, live: KubernetesLive | None) -> list[str]:
        """Remove the Deployments of deploys that have ended, except what is live and what is kept for a quick rollback."""
        if live is not None and not live.committed:
            return []
        live = self._seen if live is not None else None  # The same, and what is kept.
        found = {pool: entry for pool, entry in self._pools() if entry <= self._ended}
        expired = live is None or self.api.seconds - live.since >= 60 * self.serving.keep_minutes
        kept = {live.pool, *([] if expired else [live.former])} if live else set()
        doomed = [pool for pool in found if pool not in kept]
        if doomed and live is not None:
            # First of all, so that nobody can switch to what is about to go.
            fence = max(live.entry, *(found[pool] for pool in doomed))
            former = "" if live.former in doomed else live.former
            if (fence, former) != (live.entry, live.former):
                self.switch(live.model_copy(update={"entry": fence, "former": former}))
        return self._removed(doomed)

    def strangers(self) -> list[str]:
        """Deployments of deploys that ended without a word."""
        live = self.live()
        if live is None or not live.committed:
            return []
        known = {live.pool, live.former}
        return [pool for pool, entry in self._pools() if entry <= live.entry and pool not in known]

    def stop(self) -> list[str]:
        """Remove all Deployments; the Service and its record stay, so `status --start` can bring back what was live.

        Raises:
            RatchetError: A deploy is under way.
        """
        live = self.live()
        if live is not None and not live.committed:
            raise RatchetError(
                f"a deploy of v{live.version} of {self.model} is under way",
                "wait until it has ended; `ratchet status --start` undoes one that died",
            )
        return self._removed([pool for pool, _ in self._pools()])

    def _write(self, live: KubernetesLive | None) -> None:
        """Put a record, and the selector that goes with it, in the place of what was last seen."""
        for _ in range(_ATTEMPTS):
            service = self._service()
            there = self._record(service)
            wanted = self._changed(service, live)
            if service == wanted:
                self._seen = live  # Ours: the answer to the write was lost.
                return
            if there is not None and live is not None and live.entry < there.entry:
                raise RatchetError(
                    f"ledger entry {live.entry} may not change what entry {there.entry} made live in {self.place}",
                    "another deploy came between; nothing was changed",
                )
            if there != self._seen:
                raise MovedError(
                    f"{self.place} was changed by another deploy", "nothing was changed; try again when it has ended"
                )
            # A conflict is for a look whether it was about the record.
            with contextlib.suppress(ConflictError):
                if service is None:
                    self.api.create(self._services(), wanted)
                else:
                    self.api.replace(self._services(self.name), wanted)
                self._seen = live
                return
        raise MovedError(f"{self.place} changes all the time", "find out who writes it, then try again")

    def _changed(self, service: Object | None, live: KubernetesLive | None) -> Object:
        pool, record = (live.pool, live.model_dump_json()) if live else ("none", "")
        wanted = objects.service(self.serving, self.model, pool, record)
        if service is None:
            return wanted
        changed = copy.deepcopy(service)
        changed["metadata"].setdefault("annotations", {})[objects.RECORD] = record
        changed["spec"]["selector"] = wanted["spec"]["selector"]
        changed["spec"]["type"] = wanted["spec"]["type"]
        return changed

    def _dated(self, live: KubernetesLive) -> KubernetesLive:
        """With what it replaces as former, once that is certain."""
        before = self._seen.previous if self._seen is not None and live.committed and live.previous is None else None
        if before is None or self._seen is None or self._seen.pool != live.pool or before.digest == live.digest:
            return live
        return live.model_copy(update={"former": before.pool, "since": self.api.seconds})

    def _service(self) -> Object | None:
        found = self.api.get(self._services(self.name))
        self._refuse_foreign("Service", found)
        return found

    def _record(self, service: Object | None) -> KubernetesLive | None:
        said = ((service or {}).get("metadata", {}).get("annotations") or {}).get(objects.RECORD)
        try:
            return KubernetesLive.model_validate_json(said) if said else None
        except ValidationError as error:
            raise RatchetError(
                f"the annotation {objects.RECORD} of {self.place} is unreadable: {error.errors()[0]['msg']}",
                "remove it; `ratchet status --start` brings the champion back",
            ) from error

    def _refuse_foreign(self, kind: str, found: Object | None) -> None:
        if found is None:
            return
        metadata = found["metadata"]
        labels = metadata.get("labels") or {}
        if (labels.get(objects.MANAGED_BY), labels.get(objects.MODEL)) != (objects.MANAGER, self.name):
            raise InputError(
                f"{kind} {self.api.namespace}/{metadata['name']} is there and was not made by ratchet; nothing was changed",
                "rename or remove it, or set serving.namespace to another one",
            )

    def _applied(self, wanted: Object) -> Object:
        """A Deployment as it is wanted, with a Service of its own to ask it by, and a disruption budget."""
        name = str(wanted["metadata"]["name"])
        self._refuse_foreign("Deployment", self._deployment(name))
        applied = self.api.apply(self._deployments(name), wanted)
        self.api.apply(self._services(name), objects.pool_service(self.model, name, applied))
        budget = f"/apis/policy/v1/namespaces/{self.api.namespace}/poddisruptionbudgets/{name}"
        self.api.apply(budget, objects.disruption_budget(self.model, name, applied))
        return applied

    def _ready(self, applied: Object, within: float, say: Say) -> float:
        """Wait for a Deployment's pods; returns how long that took, in seconds."""
        name, generation = str(applied["metadata"]["name"]), int(applied["metadata"]["generation"])
        limited = self.serving.model_copy(update={"startup_seconds": max(1, int(within))})
        return wait_available(self.api, self._deployments(name), name, generation, limited, say)

    def _try_canary(
        self,
        canary: Canary,
        made: Draft,
        entry: int,
        previous: KubernetesLive,
        probe: Probe | None,
        seconds: float,
        say: Say,
    ) -> None:
        """Let a few pods of a version join those that clients reach, and watch them; they go before anything is switched.

        What a killed deploy leaves of it goes with that deploy's other Deployment.
        """
        wanted = objects.deployment(self.serving, self.model, made, entry, self.tracking_uri, joins=previous.pool)
        name = str(wanted["metadata"]["name"])
        try:
            self._ready(self._applied(wanted), self.serving.startup_seconds - seconds, say)
            say(
                f"v{made.version}: a canary takes clients beside v{previous.version}; watching it for {canary.seconds} s"
            )
            self._watch(made.version, name, canary.seconds, probe)
        finally:
            self._removed([name])

    def _watch(self, version: str, pool: str, seconds: float, probe: Probe | None) -> None:
        """Ask the pods of a Deployment that clients reach, again and again.

        Raises:
            RatchetError: A pod ends, or an answer is missing, wrong or late.
        """
        until = time.monotonic() + seconds
        before = restarts(self.api, pool)
        while time.monotonic() < until:
            if probe is not None:
                began = time.monotonic()
                compare(self._asked(pool, probe), probe)
                took = (time.monotonic() - began) * 1000
                if self.serving.max_latency_ms and took > self.serving.max_latency_ms:
                    raise RatchetError(
                        f"v{version} took {took:.0f} ms to answer {len(probe.scores)} rows while it was watched; "
                        f"serving.max_latency_ms is {self.serving.max_latency_ms}"
                    )
            if (now := restarts(self.api, pool)) != before:
                lost = now[1] or f"{now[0] - before[0]} restarts"
                raise RatchetError(
                    f"a pod of v{version} ended while it was watched: {lost}",
                    "find out why it ends under load; raise serving.memory if it was OOMKilled",
                )
            time.sleep(_BEAT_SECONDS)

    def _kept(self, wanted: Object, previous: KubernetesLive | None) -> str:
        """The former champion's Deployment, where it would be the same as a new one; "" where not."""
        found = self._deployment(previous.former) if previous and previous.former else None
        if found is None or not found.get("status", {}).get("availableReplicas"):
            return ""
        same = found["metadata"]["annotations"].get(objects.DIGEST) == wanted["metadata"]["annotations"][objects.DIGEST]
        images = [each["spec"]["template"]["spec"]["containers"][0]["image"] for each in (found, wanted)]
        is_same = same and images[0] == images[1] and found["spec"]["replicas"] == wanted["spec"]["replicas"]
        return str(found["metadata"]["name"]) if is_same else ""

    def _asked(self, pool: str, probe: Probe) -> list[Any]:
        """The answers of one Deployment's pods: asked directly from inside the cluster, else through the API server."""
        until = time.monotonic() + _REACHED_SECONDS
        while True:
            try:
                if self.api.is_inside:
                    return ask(f"http://{pool}.{self.api.namespace}.svc", probe.rows)
                path = f"{self._services(pool)}:http/proxy/invocations"
                return list(self.api.ask("POST", path, question(probe.rows))["predictions"])
            except (RatchetError, KeyError):
                if time.monotonic() > until:
                    raise
                time.sleep(_BEAT_SECONDS / 2)

    def _pools(self) -> list[tuple[str, int]]:
        """This model's Deployments, and the ledger entries in whose name they were made."""
        found = [each["metadata"] for each in self.api.items(self._deployments(), objects.selector(self.model))]
        return [(each["name"], int(each["labels"].get(objects.ENTRY, 0))) for each in found]

    def _removed(self, pools: list[str]) -> list[str]:
        for pool in pools:
            self.api.delete(self._deployments(pool))
        return pools

    def _deployment(self, pool: str) -> Object | None:
        return self.api.get(self._deployments(pool))

    def _deployments(self, name: str = "") -> str:
        return f"/apis/apps/v1/namespaces/{self.api.namespace}/deployments" + (name and f"/{name}")

    def _services(self, name: str = "") -> str:
        return f"/api/v1/namespaces/{self.api.namespace}/services" + (name and f"/{name}")
