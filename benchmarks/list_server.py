"""An S3 server that lists, and does nothing else: moto and rclone take longer for a page the further back it is.

    python benchmarks/list_server.py OBJECTS flat|prefixes [--versions] [--delay 0.05]     # says its port

Bucket `data`. All entries are written when it starts, so that a page is a slice of bytes.
"""

import argparse
import time
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

PAGE = 1000
HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<{0} xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>data</Name>'
ENTRY = (
    "<{0}><Key>{1}</Key>{2}<LastModified>2026-01-02T03:04:05.000Z</LastModified><ETag>&quot;{3:032x}&quot;</ETag>"
    "<Size>16000</Size><StorageClass>STANDARD</StorageClass></{0}>"
)
VERSION = "<VersionId>{0:032x}</VersionId><IsLatest>true</IsLatest>"


def keys_of(objects: int, shape: str) -> list[str]:
    """Sorted keys: in one folder, or in one for each day, 1,000 files a day."""
    if shape == "flat":
        return [f"rows/part-{number:08}.parquet" for number in range(objects)]
    return [f"rows/day={number // 1000:05}/part-{number % 1000:05}.parquet" for number in range(objects)]


class Lists:
    """The answers."""

    def __init__(self, keys: Sequence[str], versions: bool) -> None:
        self.keys = keys
        self.versions = versions
        name = "Version" if versions else "Contents"
        self.entries = [
            ENTRY.format(name, key, VERSION.format(at) if versions else "", at).encode() for at, key in enumerate(keys)
        ]

    def answer(self, asked: dict[str, str]) -> bytes:
        if "versioning" in asked:
            status = "<Status>Enabled</Status>" if self.versions else ""
            return HEAD.format("VersioningConfiguration").encode() + f"{status}</VersioningConfiguration>".encode()
        prefix = asked.get("prefix", "")
        after = asked.get("continuation-token") or asked.get("start-after") or asked.get("key-marker") or ""
        first = max(bisect_left(self.keys, prefix), bisect_right(self.keys, after))
        end = bisect_left(self.keys, prefix + "\x7f")
        last = min(first + int(asked.get("max-keys", PAGE)), end)
        root = "ListVersionsResult" if "versions" in asked else "ListBucketResult"
        more = ""
        if last < end:
            token = self.keys[last - 1]
            more = (
                f"<NextKeyMarker>{token}</NextKeyMarker><NextVersionIdMarker>{last - 1:032x}</NextVersionIdMarker>"
                if "versions" in asked
                else f"<NextContinuationToken>{token}</NextContinuationToken>"
            )
        top = f"<Prefix>{prefix}</Prefix><IsTruncated>{str(last < end).lower()}</IsTruncated>{more}"
        return b"".join((HEAD.format(root).encode(), top.encode(), *self.entries[first:last], f"</{root}>".encode()))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("objects", type=int)
    parser.add_argument("shape", choices=("flat", "prefixes"))
    parser.add_argument("--versions", action="store_true")
    parser.add_argument("--delay", type=float, default=0, help="seconds before each page, as a network has")
    asked = parser.parse_args()
    lists = Lists(keys_of(asked.objects, asked.shape), asked.versions)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *arguments) -> None: ...

        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
            time.sleep(asked.delay)
            content = lists.answer({name: values[0] for name, values in query.items()})
            self.send_response_only(200)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_HEAD(self) -> None:
            self.send_response_only(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
