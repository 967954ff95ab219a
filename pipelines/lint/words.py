"""What names and values say: words of a name, addresses, ids, and references that move."""

import re


def _each(text: str) -> frozenset[str]:
    return frozenset(text.split())


_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_READS = _each(
    "source src sources uri uris url urls path paths bucket table tables query sql prefix folder dir directory file files "
    "filename location endpoint dsn host database db topic address"
)
_SINKS = _each("store output outputs out destination dest sink target log logs journal report tensorboard tmp")
# `sha256` and `md5` lose their number.
_IDS = _each("revision rev digest version etag sha md commit hash checksum epoch generation snapshot fingerprint")
# What they name can be changed: `table_id`, `project_id`, `dataset_id` of a warehouse are its addresses.
_NO_IDENTITY = _READS | _each("project dataset account client tenant user experiment region drive sheet spreadsheet")
# They say which rows, how many, or how old, and not which bytes.
_ANY_BYTES = _each("window rows count cache")

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_PATH = re.compile(
    r"(~|\.{1,2})?/[^\s{}]+|[^\s{}:]+/[^\s{}:]+\.(csv|tsv|parquet|jsonl?|arrow|feather|avro|orc|txt|gz|zst|zip|xlsx?|db|pt|onnx)"
)
_DIGEST = re.compile(
    r"(?<![0-9A-Za-z])([0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})(?![0-9A-Za-z])"
)
_VERSIONED = re.compile(r"[?&#](versionId|generation)=\w|models:/[^/@]+/\d+$", re.IGNORECASE)

_MOVING = _each("latest newest head main master champion")
_ALIAS = re.compile(r"@(champion|challenger|latest|newest|head|main|master)\b", re.IGNORECASE)
_LATEST = re.compile(r"[:/](latest|newest)$", re.IGNORECASE)
_STAGE = re.compile(r"models:/[^/]+/(latest|production|staging)$", re.IGNORECASE)
_REPOSITORY = re.compile(r"(?:git|dvc)(?:\+\w+)?://\S+@([^:@#?\s]+)(?::[^@\s]*)?")
"""`git+https://host/repository@revision`, `dvc://repository@revision:path`."""
_FIXED = re.compile(r"[0-9a-f]{7,40}|v?\d+(\.\d+)+[\w.-]*")
"""A commit, or the tag of a release."""


def words(name: str) -> list[str]:
    """Words of a name, lower case: `modelVersion_id` has three."""
    return [word.lower() for word in _WORD.findall(name.replace("pipelinechannel--", ""))]


def is_address(value: str) -> bool:
    """Whether a value is a URI or a path."""
    return bool(_ADDRESS.fullmatch(value) or _PATH.fullmatch(value))


def names_source(name: str) -> bool:
    """Whether a parameter of this name says where something is read."""
    said = set(words(name))
    return bool(said & _READS) and not names_sink(name)


def names_sink(name: str) -> bool:
    """Whether a parameter of this name only says where results and journals go."""
    said = words(name)
    return bool(_SINKS & set(said)) or said[:1] in (["tracking"], ["registry"])


def names_id(name: str) -> bool:
    """Whether a parameter of this name tells one version of something from all others."""
    said = words(name)
    if set(said) & (_ANY_BYTES | _NO_IDENTITY):
        return False
    return bool(set(said) & _IDS) or said[-1:] in (["id"], ["uuid"])


def may_identify(name: str) -> bool:
    """Whether what a step looked up in this very run identifies what is read, under this name."""
    return not set(words(name)) & _ANY_BYTES


def is_id(value: str) -> bool:
    """Whether a value can only ever mean the same bytes: it holds a digest, a commit or a version id."""
    return bool(_DIGEST.search(value) or _VERSIONED.search(value))


def moving(value: str) -> str:
    """The part of a value that means something else tomorrow; "" when there is none."""
    text = value.strip()
    if text.lower() in _MOVING:
        return text
    if found := _ALIAS.search(text) or _LATEST.search(text) or _STAGE.search(text):
        return found[0]
    found = _REPOSITORY.fullmatch(text)
    return f"@{found[1]}" if found and not _FIXED.fullmatch(found[1]) else ""
