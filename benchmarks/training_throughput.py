"""Rows a second of the training loop against a bare PyTorch loop over the same tensors: same network, batch size and optimizer.

    python benchmarks/training_throughput.py [--repetitions 7]

On CUDA where there is a device (the bare loop has all rows on it), else on the CPU. `loop` is the loop alone; `fit` is what a user pays for
the same epochs: encoding, early-stopping evaluation after each epoch and a checkpoint each time as well.
"""

# First: it says, before torch is imported, how threads wait for each other; both loops are measured so.
import kfp_ratchet.components.train  # noqa: F401  # isort: skip

import argparse
import os
import statistics
import time
from collections.abc import Callable
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import torch
from june import COLUMNS, june
from results import keep
from torch.nn import functional as F  # noqa: N812

from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.shared.store import Store
from kfp_ratchet.components.train.contexts import TrainContext
from kfp_ratchet.components.train.encoding import Encoder
from kfp_ratchet.components.train.loop import Batchable, Recipe, train_network
from kfp_ratchet.components.train.network import Network
from kfp_ratchet.components.train.tabular import Parameters, Tabular

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DEFAULTS = Parameters()
AIM = 0.9


def synthetic(n: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """n rows of 12 numbers and 8 categories (5 to 640 values), and a tenth as many to stop on."""
    random = np.random.default_rng(0)
    numbers = random.normal(size=(n + n // 10, 12))
    categories = [random.integers(0, 5 * 2**i, len(numbers)) for i in range(8)]
    signal = (
        numbers[:, 0] + numbers[:, 1] * numbers[:, 2] + (categories[3] % 7 - 3) / 2 + random.normal(size=len(numbers))
    )
    rows = pl.DataFrame(
        {f"number_{i}": column for i, column in enumerate(numbers.T)}
        | {f"category_{i}": pl.Series(codes).cast(pl.String) for i, codes in enumerate(categories)}
        | {"late": (signal > 0).astype(int)}
    )
    return rows[:n], rows[n:]


def bare(network: Network, rows: Batchable, epochs: int) -> None:
    """What one would write: shuffle, forward, loss, backward, step."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=DEFAULTS.learning_rate, fused=True)
    network.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(rows), device=DEVICE).split(DEFAULTS.batch_size):
            output = network(rows.codes[batch], rows.numbers[batch])
            loss = F.binary_cross_entropy_with_logits(output[:, 0], rows.target[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def own(network: Network, rows: Batchable, context: TrainContext, epochs: int) -> None:
    """The step's loop over the same tensors; its validation is nothing."""
    recipe = Recipe(epochs, epochs, DEFAULTS.batch_size, DEFAULTS.learning_rate, DEFAULTS.weight_decay)
    losses = lambda output, target: F.binary_cross_entropy_with_logits(output[:, 0], target, reduction="none")  # noqa: E731
    train_network(network, rows, losses, lambda network: {"loss": 0.0}, recipe, context)


def seconds(work: Callable[[], object]) -> float:
    """Wall clock until the device has done it."""
    began = time.perf_counter()
    work()
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def measure(
    rows: pl.DataFrame, tail: pl.DataFrame, columns: Columns, epochs: int, repetitions: int
) -> dict[str, list[float]]:
    """Seconds of each way, repetition by repetition."""
    encoder = Encoder.learn(rows, columns.features(rows.columns), DEFAULTS.min_category_rows)
    codes, numbers = (torch.from_numpy(array).to(DEVICE) for array in encoder.encode(rows))
    target = torch.tensor(rows[columns.target].to_numpy(), dtype=torch.float32, device=DEVICE)
    tensors = Batchable(codes, numbers, target, torch.ones_like(target))

    def network() -> Network:
        p = DEFAULTS
        made = Network(
            encoder.cardinalities, encoder.width, 1, p.hidden, p.layers, p.dropout, p.activation, p.max_embedding
        )
        return made.to(DEVICE)

    def context(store: Store | None = None) -> TrainContext:
        return TrainContext(0, DEVICE, lambda line: None, store, "benchmark", every_seconds=0.0)

    took: dict[str, list[float]] = {"bare": [], "loop": [], "fit": []}
    parameters = {"epochs": epochs, "patience": epochs}
    bare(network(), tensors, 1)
    for _ in range(repetitions):
        took["bare"].append(seconds(lambda: bare(network(), tensors, epochs)))
        took["loop"].append(seconds(lambda: own(network(), tensors, context(), epochs)))
        with TemporaryDirectory() as folder:
            kept = context(Store(folder))
            took["fit"].append(seconds(lambda: Tabular.fit(rows, tail, columns, parameters, kept)))  # noqa: B023
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=7)
    repetitions = parser.parse_args().repetitions
    where = torch.cuda.get_device_name() if DEVICE == "cuda" else f"{os.cpu_count()} cores"
    lines = [
        f"{where}, median of {repetitions}, batches of {DEFAULTS.batch_size:,}; aim: the loop at least {AIM} of bare.",
        "",
        "| rows | epochs | bare | loop | of bare | fit | of bare |",
        "|---|---|---|---|---|---|---|",
    ]
    cases = {"flights, June": (*june(), COLUMNS, 4), "synthetic": (*synthetic(1_000_000), Columns(target="late"), 1)}
    for name, (rows, tail, columns, epochs) in cases.items():
        took = measure(rows, tail, columns, epochs, repetitions)
        speed = {way: epochs * rows.height / statistics.median(times) for way, times in took.items()}
        of_bare = {
            way: statistics.median(one / other for one, other in zip(took["bare"], took[way], strict=True))
            for way in ("loop", "fit")
        }
        lines.append(
            f"| {name}, {rows.height:,} | {epochs} | {speed['bare']:,.0f} rows/s | {speed['loop']:,.0f} rows/s | "
            f"{of_bare['loop']:.2f} | {speed['fit']:,.0f} rows/s | {of_bare['fit']:.2f} |"
        )
    keep("training_throughput.py", "\n".join(lines))


if __name__ == "__main__":
    main()
