"""A Kubeflow Pipelines API server in memory, for tests: it answers as a recorded real one did."""

from kfp_ratchet.testing.kfp_server.server import KfpServer

__all__ = ["KfpServer"]
