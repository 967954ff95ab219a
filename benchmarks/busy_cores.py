"""A fit on cores that something else uses too: OpenMP threads that sleep while they wait, against torch's default, which spins first.

    python benchmarks/busy_cores.py [--repetitions 3]

Prints the median seconds of a fit under each policy, alone and beside another process that fits all the time, and their ratio.
"""

import argparse
import os
import statistics
import subprocess
import sys
from contextlib import ExitStack

from results import keep

FIT = """
import sys, time, torch
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(60, 128), torch.nn.ReLU(), torch.nn.Linear(128, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
optimizer = torch.optim.AdamW(net.parameters(), fused=True)
x, y = torch.randn(4096, 60), torch.rand(4096, 1)
print("ready", flush=True)
began = time.monotonic()
for _ in range(int(sys.argv[1])):
    loss = torch.nn.functional.binary_cross_entropy_with_logits(net(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(time.monotonic() - began)
"""
STEPS, FOREVER = 50, 10**9
POLICIES: tuple[dict[str, str], ...] = ({}, {"OMP_WAIT_POLICY": "PASSIVE"})


def fit(steps: int, policy: dict[str, str]) -> subprocess.Popen[str]:
    """Start a fit and wait until its imports are done."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"} | policy
    process = subprocess.Popen(
        [sys.executable, "-c", FIT, str(steps)], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def seconds(policy: dict[str, str]) -> float:
    """Wall-clock seconds of one fit."""
    return float(fit(STEPS, policy).communicate()[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=3)
    repetitions = parser.parse_args().repetitions
    lines = [
        f"{os.cpu_count()} cores, median of {repetitions}.",
        "",
        "| beside it | default | sleep | ratio |",
        "|---|---|---|---|",
    ]
    for beside in ("nothing", "another fit"):
        with ExitStack() as stack:
            if beside != "nothing":
                stack.callback(fit(FOREVER, {}).kill)
            pairs = [[seconds(policy) for policy in POLICIES] for _ in range(repetitions)]
        default, sleep = (statistics.median(times) for times in zip(*pairs, strict=True))
        lines.append(f"| {beside} | {default:.2f} s | {sleep:.2f} s | {default / sleep:.1f}x |")
    keep("busy_cores.py", "\n".join(lines))


if __name__ == "__main__":
    main()
