"""GitHub: comments on a pull request, and check runs; by REST, version 2022-11-28."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.pipelines.forge.comment import Comment, cut
from kfp_ratchet.pipelines.forge.http import Api, ForbiddenError, required

_ACTIONS = "github-actions[bot]"
_RIGHT = "`permissions: pull-requests: write` (for check runs `checks: write`) of the job"
_LONGEST = 65_536
Conclusion = Literal["success", "neutral", "failure"]


class PullRequest:
    """A pull request, as GitHub Actions tells of it, or as it is named.

    Args:
        repository: `owner/name`; that of the workflow when "".
        number: Of the pull request; the workflow's when "".

    Raises:
        InputError: It is not known which, or there is no token.
    """

    longest = _LONGEST

    def __init__(self, repository: str = "", number: str = "") -> None:
        event = _event()
        named = repository or os.environ.get("GITHUB_REPOSITORY", "")
        self.repository = required(
            "the GitHub repository", named, "set GITHUB_REPOSITORY, or give --repository owner/name"
        )
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", self.repository):
            raise InputError(f"{self.repository!r} is no GitHub repository", "give --repository owner/name")
        token = os.environ.get("GITHUB_TOKEN") or os.environ.get("GH_TOKEN")
        headers = {
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
            "Authorization": f"Bearer {required('the GitHub token', token, 'set GITHUB_TOKEN: ${{ github.token }} in a workflow')}",
        }
        self._api = Api(os.environ.get("GITHUB_API_URL") or "https://api.github.com", headers, _RIGHT, "GitHub")
        self._number = number or _number(event)
        request = event.get("pull_request") or {}
        self.sha = str((request.get("head") or {}).get("sha") or os.environ.get("GITHUB_SHA", ""))
        """The commit that a check is of: of a pull request its head, not the merge that was tried."""
        self.from_fork = bool(((request.get("head") or {}).get("repo") or {}).get("fork"))
        """Whether it comes from a fork: then the workflow's token may only read."""

    @cached_property
    def me(self) -> str:
        """Login of the token's owner. That of a workflow may not ask; it is a known one."""
        try:
            return str(self._api.ask("GET", "/user")["login"])
        except ForbiddenError:
            return _ACTIONS

    @property
    def number(self) -> str:
        """Of the pull request.

        Raises:
            InputError: It is not known: the workflow is not of one.
        """
        return required(
            "the pull request", self._number, "run it in a workflow on pull_request, or give --pull-request NUMBER"
        )

    def comments(self) -> Iterator[Comment]:
        """All of them, oldest first."""
        for one in self._api.pages(f"/repos/{self.repository}/issues/{self.number}/comments"):
            yield _comment(one)

    def create(self, body: str) -> Comment:
        """Write one."""
        return _comment(
            self._api.ask("POST", f"/repos/{self.repository}/issues/{self.number}/comments", {"body": body})
        )

    def update(self, comment: Comment, body: str) -> Comment:
        """Replace its text."""
        return _comment(
            self._api.ask("PATCH", f"/repos/{self.repository}/issues/comments/{comment.id}", {"body": body})
        )

    def delete(self, comment: Comment) -> None:
        """Remove it."""
        self._api.remove(f"/repos/{self.repository}/issues/comments/{comment.id}")

    def check(self, name: str, conclusion: Conclusion, title: str, text: str, link: str = "") -> str:
        """Write a check run of the commit, or bring the one of that name up to date; returns its address."""
        sha = required("the commit", self.sha, "set GITHUB_SHA")
        content: dict[str, Any] = {
            "name": name,
            "status": "completed",
            "conclusion": conclusion,
            "output": {"title": title[:250], "summary": cut(text, _LONGEST - 1, link)},
            **({"details_url": link} if link.startswith(("http://", "https://")) else {}),
        }
        path = f"/repos/{self.repository}"
        found = self._api.ask("GET", f"{path}/commits/{sha}/check-runs?check_name={_quoted(name)}").get(
            "check_runs", []
        )
        if found:
            return str(self._api.ask("PATCH", f"{path}/check-runs/{found[0]['id']}", content).get("html_url", ""))
        return str(self._api.ask("POST", f"{path}/check-runs", {**content, "head_sha": sha}).get("html_url", ""))


def _comment(said: Mapping[str, Any]) -> Comment:
    author = str((said.get("user") or {}).get("login", ""))
    return Comment(str(said["id"]), author, str(said.get("body") or ""), str(said.get("html_url", "")))


def _event() -> Mapping[str, Any]:
    path = os.environ.get("GITHUB_EVENT_PATH", "")
    try:
        event = json.loads(Path(path).read_text(encoding="utf-8")) if path else {}
    except (OSError, ValueError):
        return {}
    return event if isinstance(event, dict) else {}


def _number(event: Mapping[str, Any]) -> str:
    found = re.fullmatch(r"refs/pull/(\d+)/(merge|head)", os.environ.get("GITHUB_REF", ""))
    number = (event.get("pull_request") or event.get("issue") or {}).get("number")
    return str(number) if number else found[1] if found else ""


def _quoted(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="")
