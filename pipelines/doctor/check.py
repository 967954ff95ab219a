"""One thing that was looked at."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from queue import Empty, Queue
from typing import Literal

from kfp_ratchet.components.shared.errors import RatchetError

State = Literal["ok", "warning", "failed", "skipped"]


@dataclass(frozen=True)
class Check:
    """What was seen."""

    name: str
    state: State
    said: str
    """One sentence."""
    remedy: str = ""
    """What to do; "" when nothing is to be done."""


Look = Callable[[], Check]
"""Looks at one thing. A RatchetError counts as a failed check, a missing module as a skipped one."""


def ok(said: str) -> Check:
    """All is well."""
    return Check("", "ok", said)


def warning(said: str, remedy: str) -> Check:
    """It works, but not as it should."""
    return Check("", "warning", said, remedy)


def failed(said: str, remedy: str) -> Check:
    """A run will fail."""
    return Check("", "failed", said, remedy)


def skipped(why: str, remedy: str = "") -> Check:
    """It was not looked at."""
    return Check("", "skipped", why, remedy)


def look(looks: Mapping[str, Look], seconds: float) -> Iterator[Check]:
    """Look at everything at once, and tell in order.

    Args:
        looks: By name.
        seconds: After which what has not answered has failed.
    """
    answers: dict[str, Queue[Check]] = {name: Queue(1) for name in looks}
    for name, one in looks.items():
        # Not a pool: its threads would keep the process, as long as what they ask does not answer.
        threading.Thread(target=lambda one=one, to=answers[name]: to.put(_looked(one)), daemon=True).start()
    end = time.monotonic() + seconds
    for name, answer in answers.items():
        try:
            found = answer.get(timeout=max(0.0, end - time.monotonic()))
        except Empty:
            found = failed(f"no answer within {seconds:g} s", "see whether it can be reached from here at all")
        yield replace(found, name=name)


def _looked(one: Look) -> Check:
    try:
        return one()
    except RatchetError as error:
        return failed(error.message, error.remedy)
    except ModuleNotFoundError as error:
        return skipped(f"the Python package {error.name} is not installed here", "pip install 'kfp-ratchet[data]'")
    except Exception as error:  # A check that is broken must not hide the others.
        return failed(f"unexpected {type(error).__name__}: {error}", "report this")
