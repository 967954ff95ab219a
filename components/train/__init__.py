import os

# Idle OpenMP threads sleep instead of spinning: on cores that something else also uses (another run, a CPU quota), spinning makes a fit
# slower, by more than it gains on idle ones (benchmarks/busy_cores.py). It has to be said before torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
