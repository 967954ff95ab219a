"""How fast pinned objects are fetched and verified, beside `dvc pull`, boto3 and bare obstore, all from one `rclone serve s3`.

    python benchmarks/object_fetch.py [--scratch FOLDER] [--repeat 3]

10,000 objects of 16 kB, then 20 of 256 MB; every way writes files. Whole processes, imports and all, since that is what is waited for;
the lists of keys are given, as a pin gives them. Needs 13 GB in FOLDER. rclone hashes an object for each answer about it and gives no
ranges that say so, so of large objects each is read in one request.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from results import keep
from s3_servers import BIN, rclone

SMALL, SMALL_BYTES = 10_000, 16_000
LARGE, LARGE_BYTES = 20, 256_000_000
OURS = """
import sys
import polars as pl
from kfp_ratchet.components.shared.sources import open_source
uri, listing, _ = sys.argv[1:]
open_source(uri).fetch(pl.read_parquet(listing), print)
"""
LIST = """
import sys
from kfp_ratchet.components.shared.sources import Memory, open_source
uri, listing = sys.argv[1:]
open_source(uri).listing(Memory({})).write_parquet(listing)
"""
BOTO3_LOOP = """
import boto3, sys
from pathlib import Path
from pyarrow.parquet import read_table
uri, listing, out = sys.argv[1:]
bucket, prefix = uri.removeprefix("s3://").split("/")
client = boto3.client("s3")
for path in read_table(listing)["path"].to_pylist():
    Path(out, path).write_bytes(client.get_object(Bucket=bucket, Key=f"{prefix}/{path}")["Body"].read())
"""
BOTO3_THREADS = """
import boto3, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from botocore.config import Config
from pyarrow.parquet import read_table
uri, listing, out = sys.argv[1:]
bucket, prefix = uri.removeprefix("s3://").split("/")
client = boto3.client("s3", config=Config(max_pool_connections=16))
def one(path):
    Path(out, path).write_bytes(client.get_object(Bucket=bucket, Key=f"{prefix}/{path}")["Body"].read())
with ThreadPoolExecutor(16) as pool:
    list(pool.map(one, read_table(listing)["path"].to_pylist()))
"""
BARE_SMALL = """
import asyncio, obstore, os, sys
from pathlib import Path
from obstore.store import from_url
from pyarrow.parquet import read_table
uri, listing, out = sys.argv[1:]
async def work(todo, store):
    for path in todo:
        Path(out, path).write_bytes(await (await obstore.get_async(store, path)).bytes_async())
async def main():
    todo, store = iter(read_table(listing)["path"].to_pylist()), from_url(uri)
    await asyncio.gather(*(work(todo, store) for _ in range(64)))
asyncio.run(main())
os._exit(0)  # obstore aborts a process that ends at once
"""
BARE_LARGE = """
import obstore, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from obstore.store import from_url
from pyarrow.parquet import read_table
uri, listing, out = sys.argv[1:]
store = from_url(uri, client_options={"allow_http": True, "timeout": "1h"})
def one(path):
    with Path(out, path).open("wb") as file:
        for block in obstore.get(store, path).stream(min_chunk_size=8 * 2**20):
            file.write(block)
with ThreadPoolExecutor(16) as pool:
    list(pool.map(one, read_table(listing)["path"].to_pylist()))
"""


def make(folder: Path, objects: int, size: int) -> None:
    """Objects of random bytes."""
    folder.mkdir(parents=True)
    for number in range(objects):
        with (folder / f"object-{number:05}").open("wb") as file:
            for start in range(0, size, 2**24):
                file.write(os.urandom(min(2**24, size - start)))


def make_dvc(repository: Path, data: Path, remote: Path, environment: dict[str, str]) -> None:
    """A repository that tracks a copy of the small objects, with a remote in the server that holds them."""
    repository.mkdir()
    dvc = str(BIN / "dvc")

    def run(*command: str) -> None:
        subprocess.run(command, cwd=repository, env=environment, check=True, stdout=subprocess.DEVNULL)

    run("git", "init", "-q")
    run(dvc, "init", "-q")
    run(dvc, "remote", "add", "-d", "s3", "s3://dvc/store")
    run(dvc, "remote", "modify", "s3", "endpointurl", environment["AWS_ENDPOINT_URL"])
    shutil.copytree(data, repository / "data")
    run(dvc, "add", "-q", "data")
    run("git", "add", "-A")
    run("git", "-c", "user.name=b", "-c", "user.email=b@localhost", "commit", "-q", "-m", "data")
    shutil.move(repository / ".dvc" / "cache" / "files", remote / "files")  # What `dvc push` does, one by one.


def timed(environment: dict[str, str], cwd: Path, *command: object) -> float:
    """Seconds of a process."""
    began = time.perf_counter()
    subprocess.run(list(map(str, command)), cwd=cwd, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    asked = parser.parse_args()
    with TemporaryDirectory(dir=asked.scratch) as scratch:
        folder = Path(scratch)
        buckets, out, repository = folder / "buckets", folder / "out", folder / "repository"
        make(buckets / "data" / "small", SMALL, SMALL_BYTES)
        make(buckets / "data" / "large", LARGE, LARGE_BYTES)
        (buckets / "dvc" / "store").mkdir(parents=True)
        with rclone(buckets) as environment:
            environment |= {
                "RATCHET_DATA": str(out),
                "DVC_SITE_CACHE_DIR": str(folder / "site"),
                "DVC_NO_ANALYTICS": "1",
            }
            make_dvc(repository, buckets / "data" / "small", buckets / "dvc" / "store", environment)
            dvc_uri = f"dvc://{repository}@HEAD:data"
            sources = {"small": "s3://data/small", "large": "s3://data/large", "dvc": dvc_uri}
            for name, uri in sources.items():
                timed(environment, folder, sys.executable, "-c", LIST, uri, folder / name)

            def python(script: str, name: str) -> float:
                shutil.rmtree(out, ignore_errors=True)
                out.mkdir()
                return timed(environment, folder, sys.executable, "-c", script, sources[name], folder / name, out)

            def pull() -> float:
                for made in (
                    repository / "data",
                    repository / ".dvc" / "cache",
                    repository / ".dvc" / "tmp",
                    folder / "site",
                ):
                    shutil.rmtree(made, ignore_errors=True)
                return timed(environment, repository, BIN / "dvc", "pull", "-q")

            ways = {
                "`dvc pull`": pull,
                "boto3 in a loop": lambda: python(BOTO3_LOOP, "small"),
                "boto3, 16 threads": lambda: python(BOTO3_THREADS, "small"),
                "obstore, 64 in flight, not verified": lambda: python(BARE_SMALL, "small"),
                "**ours**, `s3://`, ETag of every answer compared": lambda: python(OURS, "small"),
                "**ours**, `dvc://`, md5 of all bytes compared": lambda: python(OURS, "dvc"),
            }
            large = {
                "obstore, 16 threads": lambda: python(BARE_LARGE, "large"),
                "**ours**": lambda: python(OURS, "large"),
            }
            small_s = {name: [] for name in ways}
            large_s = {name: [] for name in large}
            for _ in range(asked.repeat):
                for name, way in ways.items():
                    small_s[name].append(way())
                    print(name, f"{small_s[name][-1]:.1f} s", flush=True)
            for _ in range(asked.repeat):
                for name, way in large.items():
                    large_s[name].append(way())
                    print(name, f"{large_s[name][-1]:.1f} s", flush=True)
    small, large_by = ({name: median(all_s) for name, all_s in found.items()} for found in (small_s, large_s))
    pulled, bare = small["`dvc pull`"], small["obstore, 64 in flight, not verified"]
    lines = [
        f"{os.cpu_count()} cores for server and client, median of {asked.repeat}, interleaved; whole processes that write files.",
        "",
        f"| {SMALL:,} objects of 16 kB | wall | times faster than `dvc pull` (aim 4) | of bare obstore's speed (aim 0.8) |",
        "|---|---|---|---|",
        *(f"| {name} | {wall:.1f} s | {pulled / wall:.1f} | {bare / wall:.2f} |" for name, wall in small.items()),
        "",
        f"| {LARGE} objects of 256 MB | wall | MB/s | of the bare read's speed (aim 0.8) |",
        "|---|---|---|---|",
        *(
            f"| {name} | {wall:.1f} s | {LARGE * LARGE_BYTES / 1e6 / wall:.0f} | {large_by['obstore, 16 threads'] / wall:.2f} |"
            for name, wall in large_by.items()
        ),
    ]
    keep("object_fetch.py", "\n".join(lines))


if __name__ == "__main__":
    main()
