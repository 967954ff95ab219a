"""Start the double by hand: `python -m kfp_ratchet.testing.kfp_server --port 8888`."""

import argparse
import contextlib
import threading

from kfp_ratchet.testing.kfp_server.server import KfpServer


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m kfp_ratchet.testing.kfp_server", description=__doc__)
    parser.add_argument("--port", type=int, default=8888, help="port on 127.0.0.1; 0 takes a free one (default: 8888)")
    parser.add_argument(
        "--pace", type=float, default=1.0, help="seconds of the server's clock in a second (default: 1)"
    )
    parser.add_argument("--prefix", default="", help="what stands before /apis in every path, e.g. /pipeline")
    options = parser.parse_args()
    with KfpServer(port=options.port, pace=options.pace, prefix=options.prefix) as server:
        print(f"{server.url} (nothing is kept; Ctrl-C ends it)", flush=True)  # noqa: T201
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
