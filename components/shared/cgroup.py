"""What the container that this process runs in may use and uses, by its control group: version 2, or 1 on older nodes."""

import math
import os
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_MB = 1024 * 1024
_NO_LIMIT = 1 << 60
"""Version 1 writes "no limit" as a number near 2**63."""


def memory_limit_mb() -> float | None:
    """Most memory the container may use, MiB; None without a limit or outside a container."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        limit = _number(_ROOT / name)
        if limit is not None:
            return round(limit / _MB, 1) if limit < _NO_LIMIT else None
    return None


def memory_used_mb() -> float | None:
    """Memory of all processes of the container that cannot be given back, MiB: no file cache. Outside a container, the machine's."""
    for name, kinds in (
        ("memory.stat", ("anon", "shmem")),
        ("memory/memory.stat", ("total_rss", "total_shmem")),
    ):
        try:
            stat = dict(line.split() for line in (_ROOT / name).read_text().splitlines())
            return round(sum(int(stat.get(kind, 0)) for kind in kinds) / _MB, 1)
        except (OSError, ValueError):
            continue
    return None


def available_cpus() -> int:
    """Processors this process may use: torch itself counts the node's, not the container's share of them."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cpu_quota()
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def _cpu_quota() -> float | None:
    """Processors by the container's CPU limit, None without one."""
    try:
        quota, period = map(int, (_ROOT / "cpu.max").read_text().split())
        return quota / period
    except (OSError, ValueError):  # "max" is no limit
        pass
    first, second = _number(_ROOT / "cpu/cpu.cfs_quota_us"), _number(_ROOT / "cpu/cpu.cfs_period_us")
    return first / second if first and second and first > 0 else None  # -1 is no limit


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
