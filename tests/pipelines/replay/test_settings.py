"""`replay.yaml`: each mistake is named with its line, and nothing is replayed that no one asked for."""

from pathlib import Path

import pytest

from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.pipelines.replay.settings import load, until

YEAR = [f"2025-{month:02}" for month in range(1, 13)]


def written(folder: Path, text: str) -> Path:
    (folder / "replay.yaml").write_text(text)
    return folder


def test_a_range_of_months_is_spelled_out(tmp_path: Path) -> None:
    assert list(load(written(tmp_path, "periods: 2025-01..2025-12\n")).periods) == YEAR
    assert load(written(tmp_path, "periods: 2024-11..2025-02\n")).periods == (
        "2024-11",
        "2024-12",
        "2025-01",
        "2025-02",
    )


def test_months_and_dates_may_be_listed(tmp_path: Path) -> None:
    replay = load(
        written(
            tmp_path, "periods: [2025-01-15, 2025-01-31, 2025-02]\nparameters: {policy: {margin: 0.01}, trials: 2}\n"
        )
    )
    assert replay.periods == ("2025-01-15", "2025-01-31", "2025-02")
    assert replay.parameters == {"policy": '{"margin": 0.01}', "trials": 2}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("feed: a:b\n", "replay.yaml:1: periods: is missing"),
        ("periods: 2025-01..2025-12\nfead: a:b\n", "replay.yaml:2: fead: unknown key, did you mean 'feed'?"),
        ("periods: 2025-01..2025-12\nfeed: arrive\n", "replay.yaml:2: feed: 'arrive' does not fit; module:function"),
        ("periods: last year\n", "replay.yaml:1: periods: 'last year' is no range of months"),
        ("periods: 2025-05..2025-01\n", "periods: '2025-05..2025-01' ends before it begins"),
        ("periods: 2025-13..2025-14\n", "replay.yaml:1: periods: month must be in 1..12"),
        ("periods: []\n", "replay.yaml:1: periods: "),
        ("periods: [2025-02, 2025-01]\n", "replay.yaml:1: periods: 2025-01 does not come after 2025-02"),
        ("periods: [2025-01, 2025-01-31]\n", "replay.yaml:1: periods: 2025-01-31 does not come after 2025-01"),
        ("periods: [yesterday]\n", "'yesterday' is not an ISO month, date or time"),
        (
            "periods: 2025-01..2025-03\nincidents:\n  2025-04: fire\n",
            "replay.yaml:2: incidents: '2025-04' is none of the periods",
        ),
        (
            "periods: 2025-01..2025-03\nparameters: {trails: 3}\n",
            "there is no parameter 'trails', did you mean 'trials'?",
        ),
        (
            "periods: 2025-01..2025-03\nparameters: {store: s3://live}\n",
            "store cannot be set: the replay keeps it inside its own folder",
        ),
        ("periods: 2025-01..2025-03\nparameters: {as_of: 2025-02}\n", "as_of cannot be set: the replay moves it"),
        ("", "is empty"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(InputError) as error:
        load(written(tmp_path, text))
    assert told in str(error.value)


def test_without_a_file_and_without_periods_the_remedy_says_how(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"no period to replay; write e\.g\. `periods: 2025-01\.\.2025-12`, or give --periods"
    ):
        load(tmp_path)


def test_periods_of_the_command_line_go_before_the_file(tmp_path: Path) -> None:
    """The file's incidents are of its own periods, which may not be among them."""
    written(tmp_path, "periods: 2025-01..2025-12\nfeed: a:b\nincidents: {2025-03: fire}\n")
    replay = load(tmp_path, "2024-01, 2024-02-15")
    assert (replay.periods, replay.feed, replay.incidents) == (("2024-01", "2024-02-15"), "a:b", {})
    with pytest.raises(InputError, match=r"--periods soon: 'soon' is not an ISO month"):
        load(tmp_path, "soon")


def test_until_is_one_of_the_periods() -> None:
    assert until(YEAR, "2025-02") == ("2025-01", "2025-02")
    assert until(YEAR, "") == tuple(YEAR)
    with pytest.raises(InputError, match="--until 2026-01: not one of the periods"):
        until(YEAR, "2026-01")
