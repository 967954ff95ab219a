"""What must outlive a power cut."""

import os
from pathlib import Path


def sync(*paths: Path) -> None:
    """Have files, or the names in folders, on the disk before going on."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
