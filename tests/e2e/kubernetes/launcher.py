"""Plays KFP's launcher in a step's container, where it is process 1: inputs from S3, the executor's command, outputs to S3.

As KFP's does, it handles no signal, and every death of the command is exit code 1, told apart in the log only. With RATCHET_TEST_FORWARD
set, SIGTERM is passed on to all processes and their end is waited for, as some init processes do.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import obstore
from obstore.store import from_url


def local(uri: str) -> Path:
    return Path("/s3", uri.removeprefix("s3://"))


def artifacts(side: dict) -> list[dict]:
    return [each for one in side.get("artifacts", {}).values() for each in one.get("artifacts", [])]


def download(uri: str) -> None:
    place, store = local(uri), from_url(uri)
    for batch in obstore.list(store):
        for found in batch:
            # The artifact is one file of that very name, or all that lies below.
            path = place / found["path"] if found["path"] else place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(obstore.get(store, found["path"]).bytes()))
    if not place.exists():
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(bytes(obstore.get(from_url(f"s3://{bucket}"), key).bytes()))


def upload(uri: str) -> None:
    place = local(uri)
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    store = from_url(f"s3://{bucket}")
    for path in [place] if place.is_file() else sorted(one for one in place.rglob("*") if one.is_file()):
        below = "" if path == place else "/" + str(path.relative_to(place))
        obstore.put(store, key + below, path)


def main() -> int:
    command = sys.argv[1:]
    called = json.loads(command[command.index("--executor_input") + 1])
    for artifact in artifacts(called.get("inputs", {})):
        download(artifact["uri"])
    outputs = called["outputs"]
    parameters = {name: Path(one["outputFile"]) for name, one in outputs.get("parameters", {}).items()}
    for path in [*map(local, (one["uri"] for one in artifacts(outputs))), *parameters.values()]:
        path.parent.mkdir(parents=True, exist_ok=True)
    metadata = Path(outputs["outputFile"])
    metadata.parent.mkdir(parents=True, exist_ok=True)

    child = subprocess.Popen(command, start_new_session=True)
    if os.environ.get("RATCHET_TEST_FORWARD"):
        signal.signal(signal.SIGTERM, lambda *_: os.killpg(child.pid, signal.SIGTERM))
    status = child.wait()
    with contextlib.suppress(ChildProcessError):
        while True:  # The shell around Python dies of SIGTERM at once.
            os.wait()
    if status:
        sys.stderr.write(f"exit status {status}\n" if status > 0 else f"signal: {-status}\n")
        return 1
    for artifact in artifacts(outputs):
        upload(artifact["uri"])
    told = {name: path.read_text() for name, path in parameters.items() if path.exists()}
    said = {"metadata": metadata.read_text() if metadata.exists() else "{}", "parameters": told}
    bucket, _, key = os.environ["RATCHET_TEST_TOLD"].removeprefix("s3://").partition("/")
    obstore.put(from_url(f"s3://{bucket}"), key, json.dumps(said).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
