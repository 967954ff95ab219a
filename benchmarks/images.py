"""The images that were built and pushed: their sizes, what a change of code sends, and the time to the first line of each step.

python benchmarks/images.py localhost:5000, after `ratchet images build --registry localhost:5000` and `ratchet images push` there.
The clock runs from `docker run` to the line of the step's function that calls its logic: container, Python, KFP's executor and the
step's imports. Cold: the image's files were put out of the page cache before (POSIX_FADV_DONTNEED), the base's and Docker's own were not.
"""

import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import yaml
from results import keep

from kfp_ratchet.components._image import SLIM
from kfp_ratchet.pipelines.compile import compiled
from kfp_ratchet.pipelines.images import KINDS, Images

CONFIG = Path(__file__).resolve().parent.parent / "examples" / "flights" / "ratchet.yaml"
REPETITIONS = 3
STATUS = {"pipelineJobResourceName": "run", "state": "SUCCEEDED", "pipelineTaskName": "t", "error": {}}
VALUES = {"NUMBER_INTEGER": 0, "TASK_FINAL_STATUS": STATUS}
FORGET = """
import os
for folder, _, names in os.walk("/opt/venv"):
    for name in names:
        if not os.path.islink(path := os.path.join(folder, name)):
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)
"""


def layers(images: Images, kind: str) -> list[int]:
    """Compressed bytes of each layer."""
    url = f"http://{images.registry}/v2/{images.repository}/{kind}/manifests/{images.tag}"
    accepted = {
        "Accept": "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"
    }
    with urllib.request.urlopen(urllib.request.Request(url, headers=accepted)) as answer:
        return [layer["size"] for layer in json.load(answer)["layers"]]


def first_line(image: str, container: dict, step: str, values: dict) -> float:
    """Seconds from `docker run` to the call of the step's logic."""
    *shell, source = container["command"]
    importing = source.index("\n", source.index("\n    from kfp_ratchet.") + 1)
    marked = (
        f'{source[:importing]}\n    import time\n    print("FIRST", time.time(), flush=True)\n    raise SystemExit\n'
    )
    executor_input = json.dumps({"inputs": {"parameterValues": values}, "outputs": {"outputFile": "/tmp/out.json"}})
    arguments = ["--executor_input", executor_input, "--function_to_execute", step]
    began = time.time()
    run = ["docker", "run", "--rm", "--read-only", "--tmpfs", "/tmp", "--network", "none", image]
    done = subprocess.run([*run, *shell, marked, *arguments], capture_output=True, text=True)
    found = [line for line in done.stdout.splitlines() if line.startswith("FIRST")]
    if not found:
        raise RuntimeError(f"{step} did not get to its first line: {done.stderr}")
    return float(found[0].split()[1]) - began


def main() -> None:
    """Measure and keep."""
    images = Images(registry=sys.argv[1])
    lines = [
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before; warm: median of {REPETITIONS}, cold: one.",
        "",
        "| image | uncompressed | compressed, in the registry | sent after a change of code (aim: under 20 MB) |",
        "|---|---|---|---|",
    ]
    for kind in KINDS:
        reference = images.reference(kind)
        size = int(subprocess.check_output(["docker", "image", "inspect", "--format", "{{.Size}}", reference]))
        sizes = layers(images, kind)
        ours = sizes[-1:] if kind == "slim" else sizes[-2:]
        lines.append(f"| {kind} | {size / 1e6:,.0f} MB | {sum(sizes) / 1e6:,.0f} MB | {sum(ours) / 1e6:.1f} MB |")
    lines += ["", "| step | image | cold | warm (aim: under 2 s in slim) |", "|---|---|---|---|"]
    texts = compiled([CONFIG])
    documents = [yaml.safe_load(text.split("\n---")[0]) for text in (texts["flights"], texts["approve"])]
    executors = {key: value for each in documents for key, value in each["deploymentSpec"]["executors"].items()}
    components = {key: value for each in documents for key, value in each["components"].items()}
    for name, executor in executors.items():
        step, container = name.removeprefix("exec-"), executor["container"]
        if step.rstrip("-0123456789") != step:
            continue
        inputs = components[f"comp-{step}"].get("inputDefinitions", {}).get("parameters", {})
        values = {key: VALUES.get(each["parameterType"], "") for key, each in inputs.items()}
        kind = "slim" if container["image"] == SLIM else "train"
        reference = images.reference(kind)
        subprocess.run(["docker", "run", "--rm", reference, "python3", "-S", "-c", FORGET], check=True)
        cold = first_line(reference, container, step, values)
        warm = statistics.median(first_line(reference, container, step, values) for _ in range(REPETITIONS))
        lines.append(f"| {step} | {kind} | {cold:.1f} s | {warm:.1f} s |")
    keep(Path(__file__).name, "\n".join(lines))


if __name__ == "__main__":
    main()
