"""The server's HTTP side: who may call, what goes wrong on purpose, and how an answer is written."""

import json
import logging
import socket
import struct
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NoReturn

from werkzeug import Request, Response
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.routing import Map

from kfp_ratchet.testing.kfp_server.answers import NOT_FOUND, UNAUTHENTICATED, UNIMPLEMENTED, Refusal, internal, refusal
from kfp_ratchet.testing.kfp_server.calls import Call
from kfp_ratchet.testing.kfp_server.faults import Fault
from kfp_ratchet.testing.kfp_server.routes import routes

if TYPE_CHECKING:
    from kfp_ratchet.testing.kfp_server.server import KfpServer


class Application:
    """The WSGI application of a server."""

    def __init__(self, server: "KfpServer", prefix: str) -> None:
        self._server = server
        self._routes: Map = routes(prefix)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one call."""
        server = self._server
        request = Request(environ)
        server.record(request.method, request.path)
        if server.delay:
            time.sleep(server.delay)
        fault = server.faults.take(request.method, request.path)
        if fault is None:
            return self._answer(request)(environ, start_response)
        if fault.after:
            self._answer(request)
        if fault.cut:
            _cut(environ)
        request.get_data()  # a call that is not read to its end looks like a cut to its client
        return _faulty(fault)(environ, start_response)

    def _answer(self, request: Request) -> Response:
        server = self._server
        try:
            for name, value in server.required_headers().items():
                if request.headers.get(name) != value:
                    raise refusal(UNAUTHENTICATED, "Unauthenticated: this double was told to ask for credentials")
            endpoint, arguments = self._match(request)
            call = _call(request)
            with server.state.lock:
                answer = endpoint(server.state, call, **arguments)
                # Written before the lock is given back: another call may change what is shown.
                text = json.dumps(answer)
            return Response(text, 200, content_type="application/json")
        except Refusal as error:
            return _refused(error)
        except Exception as error:
            logging.getLogger(__name__).exception("%s %s", request.method, request.path)
            return _refused(internal(f"the double, not the server it stands for, fell over: {error!r}"))

    def _match(self, request: Request) -> tuple[Any, Any]:
        try:
            return self._routes.bind_to_environ(request.environ).match()
        except MethodNotAllowed:
            raise refusal(UNIMPLEMENTED, "Method Not Allowed") from None
        except NotFound:
            raise refusal(NOT_FOUND, "Not Found") from None


def _call(request: Request) -> Call:
    body = request.get_data(cache=True, parse_form_data=True)
    upload = request.files.get("uploadfile")
    return Call(
        query=request.args.to_dict(),
        body=body,
        filename=(upload.filename or "") if upload else "",
        upload=upload.read() if upload else b"",
    )


def _refused(error: Refusal) -> Response:
    text = error.body if isinstance(error.body, str) else json.dumps(error.body)
    return Response(text, error.status, content_type=error.content_type)


def _faulty(fault: Fault) -> Response:
    kind = "text/html" if fault.body.lstrip().startswith("<") else "application/json"
    return Response(fault.body, fault.status, dict(fault.headers), content_type=kind)


def _cut(environ: dict[str, Any]) -> NoReturn:
    """Close the connection without an answer; what the client still sends is refused."""
    connection: socket.socket = environ["werkzeug.socket"]
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise ConnectionAbortedError("cut, as a test asked for")
