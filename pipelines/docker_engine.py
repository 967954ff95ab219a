"""What this package asks of Docker: programs' output line by line, digests from registries, and errors that say what to do."""

import json
import re
import subprocess
from collections import deque
from collections.abc import Callable

from kfp_ratchet.components.shared.errors import RatchetError

_LAST = 20
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_REMEDIES = (
    (
        r"cannot connect to the docker daemon|error during connect",
        "start Docker, or set DOCKER_HOST to the daemon that is to be used",
    ),
    (
        r"permission denied while trying to connect",
        "give yourself the right to use Docker: sudo usermod -aG docker $USER, then log in again",
    ),
    (
        r"no space left on device|disk quota",
        "free space where Docker keeps its images: `docker system df` shows what takes it",
    ),
    (
        r"does not exist locally|no such image",
        "build it first: ratchet images build, with the same registry, repository and tag",
    ),
    (
        r"http response to https client|certificate",
        "give the registry a certificate, or name it in insecure-registries of the Docker daemon",
    ),
    (
        r"no solution found",
        "change the requirement that is named: packages which the image has keep their versions",
    ),
    (
        r"denied|unauthorized|authentication required|no basic auth",
        "check the name, and log in with a right to it: docker login REGISTRY",
    ),
    (
        r"manifest unknown|manifest for .* not found|not found: manifest",
        "check the name and the tag; push it first when it is one of these images",
    ),
    (
        r"no such host|connection refused|timeout|timed out|network is unreachable|failed to resolve|temporary failure",
        "check the address, and whether this machine reaches it; a build takes --network host when only the machine itself does",
    ),
)
"""The first whose pattern is found in what Docker says."""


def docker(*arguments: str, doing: str, say: Callable[[str], None] = lambda line: None) -> str:
    """Run a `docker` command; returns its output.

    Args:
        arguments: Of the program `docker`.
        doing: What cannot be done when it fails, for the message.
        say: Told each line as it comes.

    Raises:
        RatchetError: There is no such program, or the command failed: the message ends with its last lines.
    """
    try:
        process = subprocess.Popen(  # noqa: S603
            ["docker", *arguments],  # noqa: S607
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except FileNotFoundError:
        raise RatchetError(
            f"{doing} failed: there is no program docker", "install Docker, and start its daemon"
        ) from None
    lines = []
    with process:
        try:
            for line in process.stdout or ():
                line = _COLOUR.sub("", line)
                lines.append(line)
                say(line.rstrip())
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        said = "".join(deque(lines, maxlen=_LAST)).strip()
        raise RatchetError(f"{doing} failed: {said}", remedy(said))
    return "".join(lines)


def remedy(said: str) -> str:
    """What to do about an error that Docker told of."""
    found = (each for pattern, each in _REMEDIES if re.search(pattern, said, re.IGNORECASE))
    return next(found, "`docker` says above what is wrong")


def image_id(reference: str) -> str:
    """The id of an image on this machine."""
    return docker("image", "inspect", "--format", "{{.Id}}", reference, doing=f"looking at {reference}").strip()


def registry_digest(reference: str) -> str:
    """The digest under which the reference's registry holds it now, sha256:…; asked by way of the daemon, with Docker's credentials.

    Raises:
        RatchetError: The package docker is missing, the registry cannot be reached, or has no such image.
    """
    try:
        from docker import DockerClient
        from docker.errors import DockerException
    except ImportError:
        raise RatchetError(
            "digests are asked for with the package docker, which is not installed", "pip install 'kfp-ratchet[docker]'"
        ) from None
    doing = f"asking for the digest of {reference}"
    # The SDK knows DOCKER_HOST, but not the context that the program uses.
    context = json.loads(docker("context", "inspect", doing=doing))[0]
    try:
        client = DockerClient(base_url=context["Endpoints"]["docker"]["Host"])
        try:
            return str(client.images.get_registry_data(reference).id)
        finally:
            client.close()
    except DockerException as error:
        said = f"{doing} failed: {error}"
        raise RatchetError(said, remedy(str(error))) from None
