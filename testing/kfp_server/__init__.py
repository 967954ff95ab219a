"""A Kubeflow Pipelines API server in memory, for tests: it answers as a recorded real one did."""
