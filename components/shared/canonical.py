"""Canonical JSON and digests: the same content is the same text, on every machine.

Configuration travels between steps as this text, because KFP's own struct parameters turn ints into floats.
"""

import hashlib
import json
import math
from pathlib import Path
from typing import Any


def dumps(value: Any) -> str:
    """JSON with sorted keys, no spaces, ASCII only.

    Raises:
        ValueError: `value` holds a NaN or an infinity, which JSON cannot say.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def loads(text: str | bytes) -> Any:
    """Read JSON that may come from anyone.

    Raises:
        ValueError: Not JSON, a number that is no finite one, or nested too deeply.
    """
    try:
        return json.loads(text, parse_constant=_not_finite, parse_float=_finite)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _not_finite(text)


def _not_finite(text: str) -> float:
    raise ValueError(f"{text} is not a finite number")


def digest(content: bytes | str) -> str:
    """`sha256:` and the hex digest of some bytes (text is encoded as UTF-8)."""
    data = content.encode() if isinstance(content, str) else content
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def digest_file(path: Path) -> str:
    """`sha256:` and the hex digest of a file's bytes, read in blocks."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def digest_folder(folder: Path) -> str:
    """Digest of the relative names and bytes of all files below `folder`, whatever their order on disk."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return digest(dumps({name: digest_file(path) for name, path in files.items()}))
