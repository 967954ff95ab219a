"""What a roll-out needs of the place where models are served, and the rules that every such place keeps."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from kfp_ratchet.components.deploy.probe import Answered, Probe
from kfp_ratchet.components.shared.entry import MAKES_CHAMPION, Draft, Entry
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.ledger import Ledger

Fetch = Callable[[Path], Path]
"""Downloads a version's model folder below a folder and returns it, verified."""

Say = Callable[[str], None]


class Served(BaseModel):
    """What is live, as the target has it on record."""

    model_config = ConfigDict(frozen=True)

    version: str
    digest: str
    url: str = Field(description="Where clients ask: POST {url}/invocations.")
    entry: int = Field(description="Ledger entry that shaped this: the fencing token, which never gets smaller.")
    committed: bool = Field(description="Whether the ledger is known to agree.")
    epoch: int = Field(default=0, description="Ledger entry that made it champion; 0 while it is not committed.")
    previous: Self | None = Field(default=None, description="What to go back to while it does not.")


class Pods(BaseModel):
    """The pods that clients reach."""

    model_config = ConfigDict(frozen=True)

    deployment: str
    image: str
    ready: int
    replicas: int = Field(description="How many are wanted.")


L = TypeVar("L", bound=Served)


@dataclass(frozen=True)
class Launched(Generic[L]):
    """A version that is ready, and takes no clients yet.

    `live` is the record to switch to, `seconds` how long it took to answer.
    """

    live: L
    answered: Answered
    seconds: float


class Target(ABC, Generic[L]):
    """A model's place to be served at.

    Only `switch` and `clear` change what clients reach. Both are atomic; a switch with a smaller entry than the one on record is refused.
    """

    is_shared: ClassVar[bool] = False
    """Whether deploys from several machines meet here, so that no lock keeps them apart: then `settle` leaves alone what an open deploy
    has switched to, until the ledger says that it has ended."""
    keep_versions: int = 1
    """How many former champions are kept."""

    @property
    @abstractmethod
    def place(self) -> str:
        """Where this is, for messages."""

    @property
    @abstractmethod
    def exists(self) -> bool:
        """Whether anything was ever served here."""

    @abstractmethod
    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Keep other deploys out, where that can be done; the lock goes with the process that holds it."""

    def hold(self, *started: Draft) -> None:
        """Note, before it is in the ledger, what the lock's holder is about to deploy, and what it takes over for that."""

    def last_held(self, intent: Entry) -> bool:
        """Whether the lock's last holder wrote this deploy-started entry, which is thus known to be dead."""
        return False

    @abstractmethod
    def live(self) -> L | None:
        """What is live, None when nothing ever was."""

    @abstractmethod
    def switch(self, live: L) -> None:
        """Make something live."""

    @abstractmethod
    def clear(self) -> None:
        """Make nothing live."""

    @abstractmethod
    def stage(self, version: str, digest: str, fetch: Fetch) -> object:
        """Have a version's model where its server will find it."""

    @abstractmethod
    def launch(
        self, made: Draft, entry: int, previous: L | None, probe: Probe | None, say: Say = lambda line: None
    ) -> Launched[L]:
        """Start a staged version, and check its health and its answers.

        Args:
            made: The version.
            entry: Number of the ledger entry in whose name it is started.
            previous: What is live.
            probe: Rows and expected answers; what is known of the version from before when None.
            say: Told what is being done.

        Raises:
            RatchetError: It does not start, or answers wrongly; what is left of it is for `settle`.
        """

    @abstractmethod
    def open(self, live: L, probe: Probe | None, say: Say = lambda line: None) -> None:
        """Let what was switched to take clients, and watch how it does.

        Raises:
            RatchetError: It does not do well.
        """

    @abstractmethod
    def answers(self, live: L) -> bool:
        """Whether what is on record as live does answer clients."""

    def pods(self, live: L) -> Pods | None:
        """The pods of what is on record as live; None where it is served without."""
        return None

    @abstractmethod
    def stop_all_but(self, live: L | None) -> Iterable[int | str]:
        """Stop this model's servers except the live one; returns those stopped."""

    @abstractmethod
    def strangers(self) -> Iterable[int | str]:
        """Servers that what is on record does not know of, and that no deploy under way has started."""

    @abstractmethod
    def stop(self) -> Iterable[int | str]:
        """Stop all servers, on a person's word."""

    def prune(self, keep: set[str]) -> None:
        """Remove what was staged of all versions but these."""

    def vouched(self, ledger: Ledger) -> L | None:
        """What is live, after a look whether this is the ledger that made it so: it may be lost, cut short, or another one.

        Raises:
            RatchetError: It is not.
        """
        live = self.live()
        # Read after `live.json`: who switches it has written to the ledger before.
        if live is not None and (live.entry > (length := ledger.length()) or not _made(ledger, live, length)):
            raise RatchetError(
                f"this ledger is not the one that made v{live.version} live: {self.place} speaks of its entry "
                f"{max(live.entry, live.epoch)}, of model {live.digest}, but {ledger.model} has {length} entries here",
                "check `store`, or restore the ledger from a backup; to begin anew, give the model another name",
            )
        return live

    def settle(self, ledger: Ledger) -> L | None:
        """Bring what is live in line with the ledger after a deploy ended, in whatever way.

        A switch that the ledger confirms is kept, any other undone; every server but the live one is stopped.

        Raises:
            RatchetError: It is not the ledger that made live what is live; nothing was changed.
        """
        live = self.vouched(ledger)
        if self.is_shared and live is not None and not live.committed and _is_open(ledger, live):
            return live
        if live is not None and not live.committed:
            commits = (entry for entry in ledger.newest() if entry.kind in MAKES_CHAMPION)
            made = next((entry for entry in commits if entry.intent == live.entry), None)
            if made is not None:
                # That it is settled is said last: until then the next one looks for what is left to stop.
                self.stop_all_but(live)
                live = live.model_copy(update={"committed": True, "previous": None, "epoch": made.number})
                self.switch(live)
            elif live.previous is not None:
                back: L = live.previous  # type: ignore[assignment]  # mypy takes a field's Self for another one
                live = back.model_copy(update={"entry": live.entry})
                self.switch(live)
            else:
                self.clear()
                live = None
        self.stop_all_but(live)
        return live


def _made(ledger: Ledger, live: Served, length: int) -> bool:
    """Whether the entry that is said to have made a model champion did."""
    if live.previous is not None and not _made(ledger, live.previous, length):
        return False
    return not live.epoch or (live.epoch <= length and ledger.entry(live.epoch).digest == live.digest)


def _is_open(ledger: Ledger, live: Served) -> bool:
    """Whether the deploy that switched to this may still commit."""
    intent = ledger.open_intent()
    return intent is not None and intent.number == live.entry
