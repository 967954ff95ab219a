"""What an address in a bucket means: one object, or those below a prefix."""

import threading

import boto3
import pytest

from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.components.shared.sources import Memory, open_source
from kfp_ratchet.components.shared.sources.source import FETCHED


@pytest.fixture
def lake(bucket, monkeypatch, tmp_path):
    """A client, the name of a bucket that keeps versions, and its URI."""
    monkeypatch.setenv(FETCHED, str(tmp_path / "fetched"))
    client, name = boto3.client("s3"), bucket.removeprefix("s3://")
    client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return client, name, bucket


def listed(uri):
    return open_source(uri).listing(Memory({}))


def fetched(uri, files):
    source = open_source(uri)
    paths = source.fetch(files, lambda line: None)
    return [(source.name(path), local.read_bytes()) for path, local in zip(files["path"], paths, strict=True)]


def test_a_single_object_that_was_deleted_after_it_was_listed(lake):
    client, name, uri = lake
    client.put_object(Bucket=name, Key="n/planes.csv", Body=b"planes")
    files = listed(f"{uri}/n/planes.csv")
    client.delete_object(Bucket=name, Key="n/planes.csv")
    assert fetched(f"{uri}/n/planes.csv", files) == [(f"{uri}/n/planes.csv", b"planes")]


def test_an_object_of_the_prefixs_name_that_comes_after_the_listing(lake):
    client, name, uri = lake
    client.put_object(Bucket=name, Key="f/f", Body=b"below")
    files = listed(f"{uri}/f")
    client.put_object(Bucket=name, Key="f", Body=b"beside")
    assert fetched(f"{uri}/f", files) == [(f"{uri}/f/f", b"below")]


def test_an_object_that_hides_those_below_it(lake):
    client, name, uri = lake
    client.put_object(Bucket=name, Key="p", Body=b"")
    client.put_object(Bucket=name, Key="p/1.csv", Body=b"one")
    assert listed(f"{uri}/p")["path"].to_list() == ["1.csv"]
    client.put_object(Bucket=name, Key="p", Body=b"an object")
    with pytest.raises(InputError, match=r"is an object, and there are others below"):
        listed(f"{uri}/p")
    assert listed(f"{uri}/p/")["path"].to_list() == ["1.csv"]


def test_two_that_fetch_from_one_source_at_once(lake):
    client, name, uri = lake
    for number in range(60):
        client.put_object(Bucket=name, Key=f"many/{number}.csv", Body=b"%d" % number)
    files = listed(f"{uri}/many")
    failed = []

    def few():
        for _ in range(20):
            try:
                open_source(f"{uri}/many").fetch(files[:1], lambda line: None)
            except Exception as error:
                failed.append(error)

    other = threading.Thread(target=few)
    other.start()
    assert len(fetched(f"{uri}/many", files)) == 60
    other.join()
    assert not failed
