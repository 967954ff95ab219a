"""The only place that names container images: one image version is one package version."""

VERSION = "0.1.0"

SLIM = f"kfp-ratchet/slim:{VERSION}"
"""pin, ingest, validate, prepare, gate, register, deploy, notify: no torch."""

TRAIN = f"kfp-ratchet/train:{VERSION}"
"""tune, train, evaluate: torch, for CPU and GPU."""

SERVE = f"kfp-ratchet/serve:{VERSION}"
"""The model server: `train` with an entry point."""
