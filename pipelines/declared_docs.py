"""What stands before the keys in docs/pipelines.md."""

HEAD = """\
# What should be on a server

`pipelines.yaml` says which pipelines, versions, experiments and schedules should be on a Kubeflow Pipelines server.

    ratchet server diff                  # what differs; exits with 1 when anything does
    ratchet server apply --dry-run       # the same, and exits with 0
    ratchet server apply                 # makes the server so
    ratchet server apply --prune         # and deletes what is ours there and not in the file any more
    ratchet schedule list                # state, when each is due, and whether it runs the version of Git

`apply` may be run again at any time, be killed anywhere, and be run by two machines at once: the next one finishes, and a second one in
a row does nothing. What fails on the server for one pipeline does not keep the others, and it ends with 3 then; what is wrong in
Git ends it
with 2 before anything is done. `docs/pipelines.schema.json` lets an
editor complete and check the file. Servers and credentials: `docs/servers.md`.

## What is ours

A server keeps names and descriptions, and takes any name twice for runs and schedules. So the last line of each description that
`apply` writes is a mark: `kfp-ratchet: owner=delays@github.com/example/delays pipeline=flights schedule=nightly digest=sha256:...`.
The owner is the file's `name` and the repository that it is in (`repository`, else Git's origin), so that two teams who choose the same
name do not take each other over. What has no mark of this owner is never changed or deleted, whatever it is called. A schedule that
someone made or copied in the UI under a name of its own, or that carries another owner's mark, is told as a notice when it runs one of
our pipelines.

- A pipeline of the same name without our mark is refused. `ratchet server apply --adopt NAME` takes it over by a new version that
  carries the mark: the description of a pipeline cannot be changed. Schedules of its former owner are deleted, since ours take their
  place. An adopted pipeline is never deleted by `--prune`; its schedules are. After a repository has moved, `--adopt` is the way as well.
- Names are compared as the server's database does it: `Flights`, `flights` and `fl\u00edghts` are one name, and two of them are
  refused.
- `--prune` deletes schedules first, then pipelines with their versions; runs stay. A pipeline that schedules of others run is not
  deleted: they would go on firing.
- A schedule of a pipeline that somebody deleted goes on firing. `diff` shows it, and `apply` replaces it, or `--prune` deletes it.

## Versions

Content is compared, not names: the digest of what the server returns with that of what was compiled. A version is uploaded when the
*newest* one does not have Git's content, since the UI offers the newest one and schedules without a version run it. So a `git revert`
makes a new version with the old content. It is called `<commit>-<digest>`, with `-dirty` between when files were changed,
`local-<digest>` without Git, and `-2`, `-3` at the end when the name is taken. Its description has the commit, when it was written, a
link, owners, and the mark. `--pin-digests` names images by their digests, which is another content: give it to `diff`, `apply`
and `submit` alike.

Times on a server have whole seconds, and of two versions in one second nobody can tell which is newer: `apply` waits for the next one.
If someone else uploads other content at the same time, one of the two says so and ends with 3.

Refused before anything is uploaded: a graph that leads nowhere and a credential in a default (`docs/lint.md`; a server would take them,
and fail at each run), a YAML over 32 MiB, a parameter that the pipeline does not have or that has another type, and a pipeline that was
compiled by a newer minor version of KFP than the server says it has (one that says `unknown` is not asked).

A description, owners or the text of an experiment cannot be changed on a server: a new text comes with the next version.

## Schedules

A recurring run cannot be edited. To change one, `apply` makes a new one that is disabled, disables the old one, enables the new one,
and deletes the old one. They are pinned to the version that was uploaded. What this means for a time that falls into the moment between
(two calls, well under a second): without `catch_up`, the server may leave it out, or start it once when the new one is enabled; with
`catch_up` it is made up for, and may be started twice if it falls between the making of the new one and the disabling of the old one.
Deploy at another minute than the schedule's.

- A run that goes on when its schedule is replaced goes on: the cluster's objects of a run belong to its schedule and are deleted with
  it, so the old one stays disabled until its last run has ended, and the next `apply` deletes it. `max_concurrency` is counted for each
  recurring run: the first run of the new one does not wait for the last of the old one.
- What somebody changes by hand is a difference and is repaired: a paused schedule is resumed (write `enabled: false` to keep it
  paused), a copy of the same name is deleted.
- A `start` that has passed is made up for with `catch_up` when the schedule is new on the server, never when it is replaced. One that was
  renamed, or deleted by hand, is new.
- `every` keeps its hours when it is replaced: it is counted from `start`, or from midnight UTC of 1970-01-01.
- Crons are what a server takes: five fields, or six with seconds first, names of months and days, `*`, `?`, ranges, steps, lists, or
  `@daily` and the like; no `L`, `W`, `#`. They are sent with six fields always.

## Time zones

A server reads crons by one clock: UTC, or what `servers.NAME.time_zone` says. A cron with another `time_zone` is translated, and fires
when the clocks of that zone read what it says:

| | |
|---|---|
| zone without summer time | one recurring run |
| zone with summer time | one recurring run for each time between two changes of clocks: the present one and two more |
| a time that clocks skip (02:30 in the night of spring) | is not fired that day |
| a time that clocks read twice (02:30 in the night of autumn) | is fired twice; choose another hour |
| days are restricted, and the server is on another day then | the days are moved, or it is refused: see below |

The last of the recurring runs has no end. So the hour is right for about a year without any `apply`, and each `apply` looks ahead again,
replacing only the one that is far off. Refused is what no cron can say on the server's clock: days at the end of a month that move to
another month, restricted months, and hours of two different days. Choose an hour of the same day, or write the cron for `time_zone: UTC`.

Start and end of recurring runs with a cron are fields of the API whose effect was not recorded on a real server, unlike those with an
interval. They are told a second early, so that it makes no difference whether the server counts the instants themselves.
"""
