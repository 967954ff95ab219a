"""What a step ran on: this package, its image, Python, and the machine. The same pins give the same bytes only on the same of these."""

import os
import platform
import sys
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from kfp_ratchet.components._image import VERSION
from kfp_ratchet.components.shared.cgroup import available_cpus, memory_limit_mb
from kfp_ratchet.components.shared.source import source_digest

_TOLD = ("torch", "polars", "numpy")
"""Libraries whose versions may change a model's bytes; those that a step did not import had no say."""


class Environment(BaseModel):
    """What a step ran on; empty fields where nobody could tell."""

    model_config = ConfigDict(frozen=True)

    package: str = Field(default="", description="Version of this package.")
    code: str = Field(default="", description="Digest of this package's source.")
    image: str = Field(default="", description="Container image, as RATCHET_IMAGE names it; empty outside a container.")
    python: str = ""
    platform: str = Field(default="", description="Operating system and architecture.")
    processor: str = Field(default="", description="Model of the CPU.")
    cores: int = Field(default=0, description="Processors that the step might use.")
    memory_gb: float = Field(
        default=0.0, description="Memory of the machine, or what the container may use, gigabytes."
    )
    gpus: tuple[str, ...] = Field(default=(), description="Models of the GPUs that the step used.")
    libraries: dict[str, str] = Field(default_factory=dict, description="Versions of libraries that the step imported.")

    @classmethod
    def now(cls) -> Self:
        """What this process runs on; imports nothing that it has not imported itself."""
        return cls(
            package=VERSION,
            code=source_digest(),
            image=image(),
            python=platform.python_version(),
            platform=f"{platform.system()} {platform.machine()}",
            processor=_processor(),
            cores=available_cpus(),
            memory_gb=_memory_gb(),
            gpus=_gpus(),
            libraries={name: str(sys.modules[name].__version__) for name in _TOLD if sys.modules.get(name)},
        )

    @property
    def hardware(self) -> str:
        """The machine in words; "" when nothing is known of it."""
        cores = f"{self.cores} core{'' if self.cores == 1 else 's'}" if self.cores else ""
        memory = f"{self.memory_gb:g} GB" if self.memory_gb else ""
        return ", ".join(filter(None, [self.processor, cores, memory, *self.gpus]))


def image() -> str:
    """The container image that this process runs in, as its environment says; "" outside of one."""
    return os.environ.get("RATCHET_IMAGE", "")


def _memory_gb() -> float:
    try:
        found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError, AttributeError):
        return 0.0
    limit = memory_limit_mb()
    return round((found if limit is None else min(found, limit * 1024 * 1024)) / 1e9, 1)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor())


def _gpus() -> tuple[str, ...]:
    torch = sys.modules.get("torch")
    # To ask costs memory on every GPU, so only a process that uses them already asks.
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return ()
    return tuple(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
