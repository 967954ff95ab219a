"""What the images are built from: `Dockerfile`, the locks of their environments, and `Dockerfile.workload` for a user's own package."""
