"""A person's word on a version that the gate promoted: where the policy wants one, nothing goes live without it.

So it is with what was rolled back or denied before, whatever the policy. The word is an `approve` or `deny` entry of the ledger. A tag
`ratchet.approval` on the version in MLflow counts as well: it is made an entry by whoever finds it. What waits was judged against a
champion, and expires with it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from kfp_ratchet.components.shared.decision import Decision
from kfp_ratchet.components.shared.entry import Draft, Entry
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.ledger import Ledger

State = Literal["pending", "approved", "denied"]
Answer = Literal["approve", "deny"]
TAGGED: Mapping[str, Answer] = {"approved": "approve", "denied": "deny"}
"""The tag's values."""
BY_TAG = "a tag in MLflow"
_BY_THE_GATE = "; the gate: "
"""Between why a version waits, where not the policy alone has it wait, and the gate's reason."""


@dataclass(frozen=True)
class Waiting:
    """A version that was left to a person, and what was said to it."""

    pending: Entry
    answer: Entry | None

    @property
    def state(self) -> State:
        """How it stands."""
        return "pending" if self.answer is None else "approved" if self.answer.kind == "approve" else "denied"

    @property
    def is_approved(self) -> bool:
        """Whether it may go live."""
        return self.state == "approved"

    def says(self, kind: Answer, run: str, by: str, reason: str) -> Draft:
        """The entry with which a person answers."""
        return _again(self.pending, kind=kind, run=run, by=by, reason=reason)

    def promotion(self, run: str) -> Draft:
        """The entry with which it goes live."""
        return _again(self.pending, kind="promote", run=run, by=self.answer.by if self.answer else "")

    @property
    def sentence(self) -> str:
        """How it stands."""
        version = self.pending.version
        if self.answer is None:
            why, taken_back, _ = self.pending.reason.partition(_BY_THE_GATE)
            return f"v{version} waits for approval (entry {self.pending.number})" + (f": {why}" if taken_back else "")
        why = f": {self.answer.reason}" if self.answer.reason else ""
        return f"v{version} was {self.state} by {self.answer.by} (entry {self.answer.number}){why}"

    def remedy(self, model: str) -> str:
        """What a person can do about it; "" where one has."""
        if self.answer is not None:
            return ""
        version = self.pending.version
        return f"ratchet model approve {model} {version} puts it live, ratchet model deny {model} {version} refuses it"


def is_required(decided: Decision) -> bool:
    """Whether the policy that decided wants a person's word."""
    return decided.policy.get("approval") == "required"


def waiting(ledger: Ledger) -> list[Waiting]:
    """What waits for a person, and what was approved and is not live yet, the newest first."""
    unanswered = [Waiting(pending, None) for pending in ledger.pending()]
    asked = {entry.number: entry for entry in ledger.newest() if entry.kind == "pending"} if ledger.approved() else {}
    approved = [Waiting(asked[answer.answers], answer) for answer in ledger.approved()]
    return sorted(unanswered + approved, key=lambda one: -one.pending.number)


def taken_back(ledger: Ledger, draft: Draft) -> str:
    """Who took this very model back, and why, when nobody has made it champion again since; "" when nobody did."""
    entry = ledger.taken_back(draft.digest)
    if entry is None:
        return ""
    done = "rolled back" if entry.kind == "rollback" else "denied"
    return f"it was {done} by {entry.by} (entry {entry.number})" + (f": {entry.reason}" if entry.reason else "")


def wait(ledger: Ledger, tracking_uri: str, draft: Draft, say: Callable[[str], None], why: str = "") -> Waiting | None:
    """Let a promotion wait for a person, once, and see whether one has spoken; None when the champion has moved meanwhile.

    Args:
        ledger: The model's ledger.
        tracking_uri: MLflow tracking URI.
        draft: The promotion.
        say: Told what is being done.
        why: Why it waits, where the policy alone would not have it wait.

    Raises:
        RatchetError: The ledger or MLflow refuse.
    """
    from kfp_ratchet.components.shared import registry

    champion = ledger.champion()
    if (champion.epoch if champion else 0) != draft.epoch:
        return None
    reason = f"{why}{_BY_THE_GATE}{draft.reason.removeprefix('Promoted: ')}" if why else draft.reason
    asked = draft.model_copy(update={"kind": "pending", "reason": reason})
    if ledger.find(asked) is None:
        # Nobody can have seen this decision yet: a tag that is there was meant for another one, or for none.
        registry.clear_approval(tracking_uri, ledger.model, draft.version)
    pending = ledger.append(asked)
    return heard(ledger, tracking_uri, Waiting(pending, ledger.answer(pending)), draft.run, say)


def heard(ledger: Ledger, tracking_uri: str, one: Waiting, run: str, say: Callable[[str], None]) -> Waiting:
    """The same, after a look at the tag in MLflow where nobody has answered yet; a registry that is away answers nothing.

    Raises:
        RatchetError: The ledger refuses.
    """
    from kfp_ratchet.components.shared import registry

    if one.answer is not None:
        return one
    try:
        tag = registry.approval(tracking_uri, ledger.model, one.pending.version)
    except RatchetError as error:
        say(f"MLflow cannot be asked for an approval: {error.message}")
        return one
    if tag and tag not in TAGGED:
        say(f"the tag {registry.APPROVAL_TAG}={tag!r} is neither of {', '.join(TAGGED)}, so it does not count")
    if tag not in TAGGED:
        return one
    return Waiting(one.pending, ledger.append(one.says(TAGGED[tag], run, BY_TAG, "")))


def _again(entry: Entry, **changed: str) -> Draft:
    """A draft about what an entry is about."""
    return Draft.model_validate({**entry.model_dump(), "intent": 0, "answers": 0, **changed})
