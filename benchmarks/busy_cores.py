"""Two fits at once on the same cores: OpenMP threads that sleep while they wait, against threads that spin (torch's default).

    python benchmarks/busy_cores.py [--repetitions 3]

Prints the median seconds of a pair of fits under each policy, alone and side by side, and their ratio.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

from results import keep

FIT = """
import torch
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(60, 128), torch.nn.ReLU(), torch.nn.Linear(128, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
optimizer = torch.optim.AdamW(net.parameters(), fused=True)
x, y = torch.randn(4096, 60), torch.rand(4096, 1)
print("ready", flush=True)
input()
for _ in range(200):
    loss = torch.nn.functional.binary_cross_entropy_with_logits(net(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""


def seconds(policy: str, processes: int) -> float:
    """Wall-clock seconds until all fits have ended; imports are not counted."""
    environment = {**os.environ, "OMP_WAIT_POLICY": policy}
    fits = [
        subprocess.Popen(
            [sys.executable, "-c", FIT], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(processes)
    ]
    for fit in fits:
        assert fit.stdout is not None and fit.stdout.readline() == "ready\n"
    began = time.monotonic()
    for fit in fits:
        fit.communicate("\n")
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=3)
    repetitions = parser.parse_args().repetitions
    lines = [
        f"{os.cpu_count()} cores, median of {repetitions}.",
        "",
        "| fits at once | spin | sleep | ratio |",
        "|---|---|---|---|",
    ]
    for processes in (1, 2):
        spin, sleep = (
            statistics.median(seconds(policy, processes) for _ in range(repetitions))
            for policy in ("ACTIVE", "PASSIVE")
        )
        lines.append(f"| {processes} | {spin:.2f} s | {sleep:.2f} s | {spin / sleep:.1f}x |")
    keep("busy_cores.py", "\n".join(lines))


if __name__ == "__main__":
    main()
