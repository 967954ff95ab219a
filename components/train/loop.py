"""The training loop: AdamW, a warm-up and a cosine, early stopping, checkpoints that resume bit for bit.

The randomness of an epoch (shuffle, dropout) is a function of seed and epoch alone, and the learning rate one of the step, so a
checkpoint between epochs needs neither generator nor scheduler; one within an epoch, which may take an hour, keeps the generators' states.
On a CPU nothing from outside matters but the number of threads, which may move the last bits of a sum.
"""

import contextlib
import json
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from hashlib import sha256
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from kfp_ratchet.components.train.optimizer import AdamW
from kfp_ratchet.components.train.workload import FitContext

_log = logging.getLogger(__name__)
_STATE = "state"
_WARM_UP = 0.1


@dataclass(frozen=True)
class Batchable:
    """Encoded rows on the device: codes (n, categories), numbers (n, numbers), target (n,), weight (n,)."""

    codes: Tensor
    numbers: Tensor
    target: Tensor
    weight: Tensor

    def __len__(self) -> int:
        return self.target.shape[0]


@dataclass(frozen=True)
class Recipe:
    """How to train."""

    epochs: int
    patience: int
    batch_size: int
    learning_rate: float
    weight_decay: float


@dataclass
class Progress:
    """Where a fit stands; plain JSON."""

    epoch: int = 0
    """The last whole one."""
    step: int = 0
    """Steps done of the epoch after it."""
    best_loss: float = math.inf
    best_epoch: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)


@contextlib.contextmanager
def seeded(seed: int, epoch: int, device: str) -> Iterator[None]:
    """Random numbers that depend on seed and epoch only; the process's own generators are left as they were."""
    indices = [torch.device(device)] if device.startswith("cuda") else []
    with torch.random.fork_rng(devices=indices):
        torch.manual_seed(int.from_bytes(sha256(f"{seed}:{epoch}".encode()).digest()[:8]) >> 1)
        yield


def train_network(
    network: nn.Module,
    rows: Batchable,
    losses: Callable[[Tensor, Tensor], Tensor],
    judge: Callable[[nn.Module], dict[str, float]],
    recipe: Recipe,
    context: FitContext,
) -> None:
    """Train in place; ends with the weights of the best epoch.

    Args:
        network: Already on the context's device.
        rows: Training rows, on the device too.
        losses: Loss of each row, shape (n,), from outputs (n, outputs) and target (n,).
        judge: Scores on the validation rows; `loss` decides when to stop.
        recipe: How to train.
        context: Seed, device, progress, checkpoints.

    Raises:
        RatchetError: From the context, when a loss is NaN or infinite.
    """
    optimizer = AdamW(network.parameters(), recipe.weight_decay)
    progress, best, within = Progress(), _copy(network), _Within.start(context.device)
    saved = context.load_checkpoint()
    if saved is not None:
        try:
            progress, best, within = _restore(saved, network, optimizer, within)
        except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            _log.warning("the checkpoint of this fit is damaged, so it begins anew: %s", error)
            network.load_state_dict(best)
            optimizer = AdamW(network.parameters(), recipe.weight_decay)
        for past in progress.curve:
            context.report(
                int(past["epoch"]), {name: value for name, value in past.items() if name != "epoch"}, recipe.epochs
            )
    while progress.epoch < recipe.epochs and progress.epoch - progress.best_epoch < recipe.patience:
        epoch = progress.epoch + 1
        with seeded(context.seed, epoch, context.device):
            for step in _train_epoch(network, optimizer, rows, losses, recipe, epoch, progress.step, within):
                progress.step = step
                context.save_checkpoint(partial(_checkpoint, progress, network, optimizer, best, within))
        network.eval()
        scores = {**judge(network), "train_loss": float(within.total / rows.weight.sum())}
        context.report(epoch, scores, recipe.epochs)
        if scores["loss"] < progress.best_loss:
            progress.best_loss, progress.best_epoch, best = scores["loss"], epoch, _copy(network)
        progress.epoch, progress.step = epoch, 0
        progress.curve.append({"epoch": epoch, **scores})
        context.save_checkpoint(partial(_checkpoint, progress, network, optimizer, best, within))
    network.load_state_dict(best)
    network.eval()


@dataclass
class _Within:
    """Where an epoch stands after some of its steps, beside network and optimizer."""

    device: str
    total: Tensor
    """Sum of the weighted losses, on the device: reading a number back after every step would stall a GPU."""
    generators: dict[str, Tensor] = field(default_factory=dict)
    """States to go on from; empty at the start of an epoch."""

    @classmethod
    def start(cls, device: str) -> Self:
        return cls(device, torch.zeros((), device=device))

    def tensors(self) -> dict[str, Tensor]:
        cuda = {"cuda": torch.cuda.get_rng_state(self.device)} if self.device.startswith("cuda") else {}
        return {"total": self.total, "cpu": torch.get_rng_state(), **cuda}

    def set_generators(self) -> None:
        torch.set_rng_state(self.generators["cpu"])
        if self.device.startswith("cuda"):
            torch.cuda.set_rng_state(self.generators["cuda"], self.device)


def _train_epoch(
    network: nn.Module,
    optimizer: AdamW,
    rows: Batchable,
    losses: Callable[[Tensor, Tensor], Tensor],
    recipe: Recipe,
    epoch: int,
    done: int,
    within: _Within,
) -> Iterator[int]:
    """Train one epoch from its step `done` on; gives the number of steps done after each but the last."""
    network.train()
    n = len(rows)
    steps = math.ceil(n / recipe.batch_size)
    order = torch.randperm(n, device=rows.target.device)
    if done:
        within.set_generators()
    else:
        within.total.zero_()
    for i in range(done, steps):
        batch = order[i * recipe.batch_size : (i + 1) * recipe.batch_size]
        loss = losses(network(rows.codes[batch], rows.numbers[batch]), rows.target[batch]) * rows.weight[batch]
        # Weights average 1 over all rows, so a batch is divided by its rows: a batch of light rows weighs little.
        loss.mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step(_learning_rate(recipe.learning_rate, (epoch - 1) * steps + i, recipe.epochs * steps))
        within.total += loss.detach().sum()
        if i + 1 < steps:
            yield i + 1


def _learning_rate(peak: float, step: int, steps: int) -> float:
    warm_up = max(1, round(_WARM_UP * steps))
    if step < warm_up:
        return peak * (step + 1) / warm_up
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def _checkpoint(
    progress: Progress, network: nn.Module, optimizer: AdamW, best: dict[str, Tensor], within: _Within
) -> bytes:
    state = torch.frombuffer(bytearray(json.dumps(asdict(progress)).encode()), dtype=torch.uint8)
    tensors = {
        _STATE: state,
        **{f"network.{name}": tensor for name, tensor in network.state_dict().items()},
        **{f"optimizer.{name}": tensor for name, tensor in optimizer.state().items()},
        **{f"best.{name}": tensor for name, tensor in best.items()},
        **{f"within.{name}": tensor for name, tensor in within.tensors().items()},
    }
    content: bytes = save_tensors({name: tensor.contiguous() for name, tensor in tensors.items()})
    return content


def _restore(
    content: bytes, network: nn.Module, optimizer: AdamW, start: _Within
) -> tuple[Progress, dict[str, Tensor], _Within]:
    tensors = load_tensors(content)
    state: dict[str, Any] = json.loads(bytes(tensors[_STATE].tolist()))
    network.load_state_dict(_below("network.", tensors))
    optimizer.load_state(_below("optimizer.", tensors))
    generators = _below("within.", tensors)
    total = generators.pop("total").to(start.device)
    return Progress(**state), _below("best.", tensors), _Within(start.device, total, generators)


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
