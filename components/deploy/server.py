"""The model server: MLflow's own scoring app for one model folder, run as a process of its own.

`python -m kfp_ratchet.components.deploy.server MODEL_FOLDER SOCKET [PUBLIC_SOCKET]`. The sockets are inherited file descriptors, already
bound, so no other program can take their ports in between. The first is served at once, to be probed; the public one, shared with the
version it replaces, only after SIGUSR1. Unlike `mlflow models serve` this is one process, so stopping it leaves no child serving.
"""

import asyncio
import os
import signal
import socket
import sys
from typing import Any

_DRAIN_SECONDS = 5


async def serve(app: Any, private: socket.socket, public: socket.socket | None) -> None:
    """Serve until SIGTERM."""
    import uvicorn

    config = uvicorn.Config(app, log_level="info", lifespan="off", timeout_graceful_shutdown=_DRAIN_SECONDS)
    state = {"pid": os.getpid(), "open": public is None}
    app.get("/ratchet")(lambda: state)
    wanted = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, wanted.set)
    server = uvicorn.Server(config)
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


def main() -> None:
    """Load the model and serve it."""
    from kfp_ratchet.components.shared.model_folder import check_folder

    folder, *descriptors = sys.argv[1:]
    check_folder(folder)  # MLflow would run whatever the folder names.
    from mlflow.pyfunc import load_model, scoring_server

    private, *public = [socket.socket(fileno=int(descriptor)) for descriptor in descriptors]
    app = scoring_server.init(load_model(folder))
    asyncio.run(serve(app, private, public[0] if public else None))


if __name__ == "__main__":
    main()
