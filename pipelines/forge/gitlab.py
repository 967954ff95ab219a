"""GitLab: notes on a merge request; by REST, version 4."""

import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any
from urllib.parse import quote

from kfp_ratchet.pipelines.forge.comment import Comment
from kfp_ratchet.pipelines.forge.http import Api, required

_RIGHT = "a project access token of the scope `api` and the role Reporter or above, as the masked variable GITLAB_TOKEN"


class MergeRequest:
    """A merge request, as GitLab CI tells of it, or as it is named.

    Args:
        project: Id or path; that of the job when "".
        number: Its `iid`; the job's when "".

    Raises:
        InputError: It is not known which, or there is no token.
    """

    longest = 1_000_000

    def __init__(self, project: str = "", number: str = "") -> None:
        url = os.environ.get("CI_API_V4_URL") or "https://gitlab.com/api/v4"
        named = required(
            "the GitLab project", project or os.environ.get("CI_PROJECT_ID"), "set CI_PROJECT_ID, or give --repository"
        )
        # The job's own token may not write notes.
        token = required("the GitLab token", os.environ.get("GITLAB_TOKEN"), f"set {_RIGHT}")
        iid = required(
            "the merge request",
            number or os.environ.get("CI_MERGE_REQUEST_IID"),
            "run it in a merge request's pipeline, or give --pull-request NUMBER",
        )
        self._notes = f"/projects/{quote(named, safe='')}/merge_requests/{iid}/notes"
        self._web = f"{os.environ.get('CI_MERGE_REQUEST_PROJECT_URL', '')}/-/merge_requests/{iid}"
        self._api = Api(url, {"PRIVATE-TOKEN": token}, _RIGHT, "GitLab")

    @cached_property
    def me(self) -> str:
        """Name of the token's user."""
        return str(self._api.ask("GET", "/user")["username"])

    def comments(self) -> Iterator[Comment]:
        """All of them, oldest first; not what GitLab itself notes."""
        for one in self._api.pages(f"{self._notes}?sort=asc&order_by=created_at"):
            if not one.get("system"):
                yield self._comment(one)

    def create(self, body: str) -> Comment:
        """Write one."""
        return self._comment(self._api.ask("POST", self._notes, {"body": body}))

    def update(self, comment: Comment, body: str) -> Comment:
        """Replace its text."""
        return self._comment(self._api.ask("PUT", f"{self._notes}/{comment.id}", {"body": body}))

    def delete(self, comment: Comment) -> None:
        """Remove it."""
        self._api.remove(f"{self._notes}/{comment.id}")

    def _comment(self, said: Mapping[str, Any]) -> Comment:
        author = str((said.get("author") or {}).get("username", ""))
        return Comment(str(said["id"]), author, str(said.get("body") or ""), f"{self._web}#note_{said['id']}")
