"""Which device a fit runs on."""

from kfp_ratchet.components.shared.cgroup import available_cpus
from kfp_ratchet.components.shared.errors import InputError


def resolve_device(name: str) -> str:
    """A torch device name for auto, cpu, cuda or cuda:N; also sets torch's number of threads to what the container may use.

    Raises:
        InputError: The name is none of these, or there is no such device here.
    """
    import torch

    torch.set_num_threads(available_cpus())
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (index and not (kind == "cuda" and index.isdigit())):
        raise InputError(f"device is {name!r}", "use auto, cpu, cuda or cuda:N")
    if kind == "cuda" and not torch.cuda.is_available():
        raise InputError(
            f"device {name!r} was asked for, but torch finds no CUDA device here",
            "use device: auto or cpu, or ask for a GPU in the step's resources",
        )
    if index and int(index) >= torch.cuda.device_count():
        raise InputError(f"device {name!r} was asked for, but there are {torch.cuda.device_count()}", "count from 0")
    return name
