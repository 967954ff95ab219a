"""Fetch a version's model from MLflow and verify its digest: what the init container of a served version runs.

`python -m kfp_ratchet.components.deploy.fetch --tracking-uri URI --model NAME --version VERSION --digest DIGEST --into FOLDER`
leaves it in FOLDER/model. A failure is told in one line, the last of the log.
"""

import argparse
import sys
from pathlib import Path

from kfp_ratchet.components.shared.errors import RatchetError


def main() -> None:
    """Fetch, or say why not."""
    from kfp_ratchet.components.shared import registry

    parser = argparse.ArgumentParser(prog="kfp_ratchet.components.deploy.fetch", description="Fetch a model.")
    for name in ("tracking-uri", "model", "version", "digest"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--into", required=True, type=Path)
    given = parser.parse_args()
    try:
        registry.fetch(given.tracking_uri, given.model, given.version, given.digest, given.into)
    except RatchetError as error:
        sys.stderr.write(" ".join(str(error).split()) + "\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
