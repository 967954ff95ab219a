"""One comment by title, created once and updated from then on."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from kfp_ratchet.pipelines.forge.http import UnclearError

_SPARE = 400
"""Characters that what is said of a cut takes at most."""


@dataclass(frozen=True)
class Comment:
    """A comment that is there."""

    id: str
    author: str
    body: str
    url: str


class Request(Protocol):
    """A pull or merge request."""

    longest: int
    """Most characters of a comment."""

    @property
    def me(self) -> str:
        """Who the token is."""

    def comments(self) -> Iterable[Comment]:
        """All of them, oldest first."""

    def create(self, body: str) -> Comment:
        """Write one."""

    def update(self, comment: Comment, body: str) -> Comment:
        """Replace its text."""

    def delete(self, comment: Comment) -> None:
        """Remove it."""


def upsert(request: Request, title: str, text: str, whole: str = "") -> tuple[Comment, bool]:
    """Write the comment of a title, or bring it up to date.

    It is known by a watermark, which only counts in comments of the token's own: what someone else wrote is never touched. Two of our own
    (two jobs at once) become one: the oldest.

    Args:
        request: Where.
        title: Which comment; each title has its own.
        text: Markdown.
        whole: Where the whole text is, if it must be cut.

    Returns:
        The comment, and whether it is new.

    Raises:
        ForgeError: The forge refuses.
    """
    mark = watermark(title)
    body = f"{mark}\n{cut(text, request.longest - len(mark) - 1, whole)}"
    found = _ours(request, mark)
    if not found:
        try:
            return request.create(body), True
        except UnclearError:
            # It may be there all the same.
            found = _ours(request, mark)
            if not found:
                return request.create(body), True
    first, *others = found
    for other in others:
        request.delete(other)
    return (request.update(first, body) if first.body != body else first), False


def watermark(title: str) -> str:
    """A comment of HTML, which readers do not see; nothing in a title can end it."""
    return f"<!-- kfp-ratchet: {re.sub(r'(-|[^A-Za-z0-9._/ ])+', '-', title)} -->"


def cut(text: str, longest: int, whole: str = "") -> str:
    """A Markdown text of at most some characters: cut between blocks, never within a section that folds.

    Args:
        text: Markdown.
        longest: Characters.
        whole: Where the whole is.
    """
    if len(text) <= longest:
        return text
    ending = "\n\n*This was cut: it is longer than a comment may be." + (f" The whole: {whole}*" if whole else "*")
    room, kept = longest - min(len(ending), _SPARE), ""
    for block in _blocks(text):
        if len(kept) + len(block) + 2 > room:
            break
        kept += ("\n\n" if kept else "") + block
    return (kept or text[:room]) + ending[:_SPARE]


def _blocks(text: str) -> Iterable[str]:
    """Paragraphs; a section that folds is one."""
    inside: list[str] = []
    for part in text.split("\n\n"):
        inside.append(part)
        joined = "\n\n".join(inside)
        if joined.count("<details>") <= joined.count("</details>"):
            yield joined
            inside = []
    if inside:
        yield "\n\n".join(inside)


def _ours(request: Request, mark: str) -> list[Comment]:
    me = request.me
    return [one for one in request.comments() if one.author == me and one.body.startswith(mark)]
