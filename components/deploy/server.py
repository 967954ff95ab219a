"""The model server: MLflow's own scoring app for one model folder, run as a process of its own.

    python -m kfp_ratchet.components.deploy.server MODEL_FOLDER --listen HOST:PORT [--public HOST:PORT] [--linger SECONDS]
    python -m kfp_ratchet.components.deploy.server MODEL_FOLDER DESCRIPTOR [PUBLIC_DESCRIPTOR]

The first address is served at once, to be probed; the public one, shared with the version that it replaces, only after SIGUSR1. Port 0
takes a free one; each address is printed as `listening on http://HOST:PORT` before the model is loaded. In the second form the sockets
are inherited file descriptors, already bound, so no other program can take their ports in between.
`GET /ratchet` is answered with 200 by whoever is ready, `GET /ping` by whoever lives. SIGTERM drains: requests under way are answered
to their end. With `--linger`, new ones are answered, too, for so long, by a server that already says that it is not ready: time for
whoever sends it clients to see that. Unlike `mlflow models serve` this is one process, so stopping it leaves no child serving.
"""

import argparse
import asyncio
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

_DRAIN_SECONDS = 5
_LEAVING = (b"connection", b"close")

Scope = dict[str, Any]
Message = dict[str, Any]
Send = Callable[[Message], Awaitable[None]]


class Leaving:
    """The app, which asks its clients to connect anew, elsewhere, once it is about to end."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.is_leaving = False

    async def __call__(self, scope: Scope, receive: Any, send: Send) -> None:
        """Answer one request."""

        async def answer(message: Message) -> None:
            if self.is_leaving and message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), _LEAVING]}
            await send(message)

        await self.app(scope, receive, answer)


async def serve(app: Any, private: socket.socket, public: socket.socket | None, linger: float = 0.0) -> None:
    """Serve until SIGTERM, and `linger` seconds more."""
    import uvicorn
    from starlette.responses import JSONResponse

    leaving = Leaving(app)
    config = uvicorn.Config(leaving, log_level="info", lifespan="off", timeout_graceful_shutdown=_DRAIN_SECONDS)
    state = {"pid": os.getpid(), "open": public is None}
    app.get("/ratchet")(lambda: JSONResponse(state, 503 if leaving.is_leaving else 200))
    loop = asyncio.get_running_loop()
    wanted = asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, wanted.set)

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: Any) -> None:
            if leaving.is_leaving or not linger:  # A second signal does not wait.
                super().handle_exit(sig, frame)
            else:
                loop.call_soon_threadsafe(loop.call_later, linger, super().handle_exit, sig, frame)
            leaving.is_leaving = True

    server = Server(config)
    serving = asyncio.create_task(server.serve(sockets=[private]))
    opening = asyncio.create_task(wanted.wait())
    await asyncio.wait({serving, opening}, return_when=asyncio.FIRST_COMPLETED)
    if public is not None and not serving.done():
        # Joined to the same server, so that one graceful shutdown drains both.
        extra = uvicorn.Server(config)
        extra.lifespan, extra.server_state = server.lifespan, server.server_state
        await extra.startup(sockets=[public])
        server.servers += extra.servers
        state["open"] = True
    await serving
    opening.cancel()


def bound(address: str, *, shared: bool) -> socket.socket:
    """A socket bound to HOST:PORT but not listening yet: it gets no clients until the server listens on it.

    Args:
        address: Where; port 0 takes a free one, an empty host all of them.
        shared: Whether another version may have the same port meanwhile.

    Raises:
        OSError: It cannot be had.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    # One that was just stopped may leave connections that the kernel still remembers.
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT if shared else socket.SO_REUSEADDR, 1)
    made.bind((host, int(port)))
    name, number = made.getsockname()[:2]
    sys.stdout.write(f"listening on http://{f'[{name}]' if ':' in name else name}:{number}\n")
    sys.stdout.flush()
    return made


def main() -> None:
    """Load the model and serve it."""
    # As the first process of a container it would not be ended by a signal that it has not asked for.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    parser = argparse.ArgumentParser(prog="kfp_ratchet.components.deploy.server", description="Serve a model folder.")
    parser.add_argument("folder", help="MLflow model folder")
    parser.add_argument("descriptors", nargs="*", type=int, help="inherited sockets: private, public")
    parser.add_argument("--listen", metavar="HOST:PORT", help="address to bind and serve at once")
    parser.add_argument("--public", metavar="HOST:PORT", help="address to share, served after SIGUSR1")
    parser.add_argument("--linger", type=float, default=0.0, help="seconds to answer on after SIGTERM")
    given = parser.parse_args()
    if bool(given.listen) == bool(given.descriptors) or (given.public and not given.listen):
        parser.error("give either --listen HOST:PORT [--public HOST:PORT], or inherited descriptors")
    sockets = [socket.socket(fileno=each) for each in given.descriptors]
    if given.listen:
        sockets.append(bound(given.listen, shared=False))
    if given.public:
        sockets.append(bound(given.public, shared=True))
    from kfp_ratchet.components.shared.model_folder import check_folder

    check_folder(given.folder)  # MLflow would run whatever the folder names.
    from mlflow.pyfunc import load_model, scoring_server

    private, *public = sockets
    app = scoring_server.init(load_model(given.folder))
    asyncio.run(serve(app, private, public[0] if public else None, given.linger))


if __name__ == "__main__":
    main()
