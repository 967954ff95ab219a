"""Serving on plain Kubernetes; the only folder that imports the library `kubernetes`."""
