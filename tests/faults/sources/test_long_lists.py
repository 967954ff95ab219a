"""Lists longer than a page: every object once, whatever the keys look like and however the server lists."""

import random
from itertools import pairwise

import pytest
from moto.s3.models import s3_backends

from kfp_ratchet.components.shared.sources import bucket_list
from kfp_ratchet.components.shared.sources.bucket_list import list_bucket

SHAPES = {
    "flat": [f"rows/part-{number:06}.parquet" for number in range(2500)],
    "folders": [f"rows/day={number // 50:03}/part-{number % 50:03}.parquet" for number in range(2500)],
    "one letter": [f"rows/{'a' * (number % 200)}{number}" for number in range(1500)],
    "not ASCII": [f"rows/größe-日{number:05}.csv" for number in range(1500)],
    "any": [
        f"rows/{random.Random(number).randbytes(6).decode('latin-1').isprintable()}{number}~" for number in range(1500)
    ],
    "a page": [f"rows/{number}" for number in range(1000)],
}


@pytest.fixture
def filled(data, monkeypatch):
    """Fills the bucket at once: this many requests would take a minute."""
    monkeypatch.setattr(bucket_list, "_PAGES_FIRST", 1)
    backend = s3_backends["123456789012"]["aws"]

    def fill(keys, content=b"x"):
        for key in keys:
            backend.put_object(data.name, key, content)

    return fill


@pytest.mark.parametrize(
    ("shape", "versions"), [*((shape, False) for shape in SHAPES), pytest.param("flat", True, marks=pytest.mark.slow)]
)
def test_every_object_is_listed_once(data, filled, shape, versions):
    if versions:
        data.keep_versions()
    filled(SHAPES[shape])
    filled(["row", "rows", "rowt/x", "zz"])
    found = list_bucket(data.name, "rows/", versions)
    assert sorted(found["path"]) == sorted(SHAPES[shape])
    assert found["id"].eq("").all() is not versions


@pytest.mark.slow
def test_of_many_versions_the_newest_is_listed_and_what_was_deleted_is_not(data, filled):
    data.keep_versions()
    keys = SHAPES["flat"][:700]
    for content in (b"1", b"22", b"333"):
        filled(keys, content)
    for key in keys[330:340]:
        data.delete(key)
    found = list_bucket(data.name, "rows/", True)
    assert sorted(found["path"]) == keys[:330] + keys[340:]
    assert found["size"].unique().to_list() == [3]
    newest = data.client.head_object(Bucket=data.name, Key=keys[0])["VersionId"]
    assert found.filter(path=keys[0])["id"].item() == newest


def test_a_server_that_begins_where_it_likes_is_listed_in_turn(data, filled, faulty):
    filled(SHAPES["flat"])
    faulty.calls["ignored"] = "start-after"
    assert sorted(list_bucket(data.name, "rows/", False)["path"]) == SHAPES["flat"]


def test_several_parts_are_listed_at_once(data, filled, faulty):
    filled(SHAPES["flat"])
    list_bucket(data.name, "rows/", False)
    begun = {line for line in faulty.seen if "start-after" in line}
    assert len(begun) > 3


def test_the_middle_lies_between():
    drawn = random.Random(0)
    texts = ["".join(drawn.choice("ab~ /é日0") for _ in range(drawn.randrange(12))) for _ in range(2000)]
    cut = 0
    for low, high in map(sorted, pairwise(texts)):
        middle, width = bucket_list._middle(low, high)
        assert not middle or (low < middle < high and width >= 0)
        cut += bool(middle)
    assert cut > 1000
