"""How long the whole step `pin` takes on a bucket of many objects, beside a bare list of the same bucket.

    python benchmarks/pin_speed.py [--scratch FOLDER] [--repeat 3]

Aims: 10,000 objects in 2 s, a million in 15 s. Bare is obstore's list, in versioned buckets boto3's; each in a process of its own, whose
start and imports are not counted.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from results import keep
from s3_servers import lists, moto, rclone

MIB = 2**20
PIN = """
import json, resource, sys, tempfile, time
from kfp_ratchet.components.pin.pins import pin_run
import boto3, obstore, requests, kfp_ratchet.components.shared.sources.objects
with tempfile.TemporaryDirectory(dir=sys.argv[1]) as folder:
    began = time.perf_counter()
    pins = pin_run("s3://data/rows", "m", f"{folder}/store", "{}", "{}", "", f"{folder}/pins", f"{folder}/run/pin/pins")
    seconds = time.perf_counter() - began
print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, pins.revision]))
"""
BARE = """
import json, resource, time, obstore
from obstore.store import from_url
began = time.perf_counter()
found = sum(len(page) for page in obstore.list(from_url("s3://data"), prefix="rows", chunk_size=1000))
print(json.dumps([time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, found]))
"""
BARE_VERSIONS = """
import boto3, json, resource, time
began = time.perf_counter()
pages = boto3.client("s3").get_paginator("list_object_versions").paginate(Bucket="data", Prefix="rows/")
found = sum(len(page["Versions"]) for page in pages)
print(json.dumps([time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, found]))
"""
FILL = """
import asyncio, boto3, obstore, sys, time
from obstore.store import from_url
client = boto3.client("s3")
client.create_bucket(Bucket="data")
if sys.argv[1] == "versions":
    client.put_bucket_versioning(Bucket="data", VersioningConfiguration={"Status": "Enabled"})
async def put(numbers, store):
    for number in numbers:
        await obstore.put_async(store, f"rows/part-{number:08}.parquet", b"%d" % number)
async def fill():
    numbers, store = iter(range(10_000)), from_url("s3://data")
    await asyncio.gather(*(put(numbers, store) for _ in range(16)))
asyncio.run(fill())
time.sleep(1)  # obstore aborts a process that ends at once
"""


def measured(script: str, environment: dict[str, str], *arguments: object) -> tuple[float, float]:
    """Seconds and MiB of a Python process, by its own account."""
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    seconds, kib, _ = json.loads(done.stdout.splitlines()[-1])
    return seconds, kib * 1024 / MIB


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", default="", help="cases whose name holds this")
    asked = parser.parse_args()
    lines = [
        f"{os.cpu_count()} cores for server and client, median of {asked.repeat}, interleaved.",
        "",
        "| objects | server | pin | peak memory | bare list | pin / bare | aim |",
        "|---|---|---|---|---|---|---|",
    ]
    with TemporaryDirectory(dir=asked.scratch) as scratch:
        folder = Path(scratch)
        rows = folder / "buckets" / "data" / "rows"
        rows.mkdir(parents=True)
        for number in range(10_000):
            (rows / f"part-{number:08}.parquet").write_bytes(b"%d" % number)
        cases: list[tuple[int, str, Callable[[], AbstractContextManager[dict[str, str]]], str, str]] = [
            (10_000, "rclone, which reads and hashes the files", lambda: rclone(folder / "buckets"), "", BARE),
            (10_000, "moto", moto, "plain", BARE),
            (10_000, "moto, versioned", moto, "versions", BARE_VERSIONS),
            (1_000_000, "static, flat", lambda: lists(1_000_000, "flat"), "", BARE),
            (1_000_000, "static, 1,000 prefixes", lambda: lists(1_000_000, "prefixes"), "", BARE),
            (1_000_000, "static, versioned", lambda: lists(1_000_000, "flat", "--versions"), "", BARE_VERSIONS),
            (1_000_000, "static, flat, 50 ms a page", lambda: lists(1_000_000, "flat", "--delay", 0.05), "", BARE),
        ]
        for objects, name, server, fill, bare in cases:
            if asked.only not in name:
                continue
            with server() as environment:
                if fill:
                    subprocess.run([sys.executable, "-c", FILL, fill], env=environment, check=True)
                runs = [(measured(PIN, environment, folder), measured(bare, environment)) for _ in range(asked.repeat)]
            ours, theirs = (median(pair[at][0] for pair in runs) for at in (0, 1))
            peak, aim = max(ours for (_, ours), _ in runs), 15 if objects > 10_000 else 2
            lines.append(
                f"| {objects:,} | {name} | {ours:.1f} s | {peak:.0f} MiB | {theirs:.1f} s | {ours / theirs:.2f} | {aim} s |"
            )
            print(lines[-1], flush=True)
    if not asked.only:
        keep("pin_speed.py", "\n".join(lines))


if __name__ == "__main__":
    main()
