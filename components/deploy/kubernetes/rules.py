"""What the deployer may have to ask of the API server, in the namespace that it serves in: the rules of its Role."""

from typing import Any

RULES: tuple[dict[str, Any], ...] = (
    {
        "apiGroups": [""],
        "resources": ["services"],
        "verbs": ["get", "create", "patch", "update"],
    },
    {"apiGroups": [""], "resources": ["services/proxy"], "verbs": ["create"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
    {
        "apiGroups": ["apps"],
        "resources": ["deployments"],
        "verbs": ["get", "list", "create", "patch", "delete"],
    },
    {"apiGroups": ["policy"], "resources": ["poddisruptionbudgets"], "verbs": ["create", "patch"]},
)
