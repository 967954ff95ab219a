"""A Kubeflow Pipelines server: what is on it, what Git says should be on it, and the way from one to the other."""
