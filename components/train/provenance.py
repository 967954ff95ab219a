"""Which code makes a model, and the key by which a fit is known."""

import inspect
from pathlib import Path
from typing import Any

from kfp_ratchet.components._image import VERSION
from kfp_ratchet.components.shared.canonical import digest, digest_file, dumps
from kfp_ratchet.components.shared.source import module_files, source_digest
from kfp_ratchet.components.train.rows import FitRows


def code_versions(workload: type[Any]) -> dict[str, str]:
    """Version of this package, and digest of the source file of the workload; of the whole folder for a built-in one."""
    try:
        source = Path(inspect.getfile(workload))
    except (OSError, TypeError):
        return {"kfp-ratchet": VERSION}
    own = workload.__module__.startswith("kfp_ratchet.")
    files = {path.name: digest_file(path) for path in sorted(source.parent.glob("*.py"))} if own else {}
    return {"kfp-ratchet": VERSION, "workload": digest(dumps(files)) if own else digest_file(source)}


def fit_key(data: FitRows, workload: str, seed: int, device: str, **more: Any) -> str:
    """A key that two fits share only when they are the same: rows, roles, workload, seed, kind of device, `more`, and the code.

    That is this package's and the user's around the workload: trials and checkpoints of other code are not gone on with.
    """
    from kfp_ratchet.components.shared.model import workload_class

    pins = {
        "revision": data.dataset.revision,
        "source": data.dataset.source,
        "rows": data.fingerprint,
        "columns": data.columns.model_dump(mode="json"),
        "window": data.window.model_dump(mode="json"),
        "workload": workload,
        "code": [source_digest(), *map(digest_file, module_files(workload_class(workload).__module__))],
        "seed": seed,
        "device": device.partition(":")[0],
        **more,
    }
    return digest(dumps(pins)).removeprefix("sha256:")[:32]
