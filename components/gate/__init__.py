"""Decide whether a candidate may replace the champion. Also a library, with no pipeline and no server:

    from kfp_ratchet.components.gate import Policy, decide

    decision = decide(evidence, rows, Policy(metric="roc_auc", margin=0.002))

`evidence` and `rows` are described in `kfp_ratchet.components.shared.evidence`; `judge(folder, policy)` reads them from a folder that
`evaluate` wrote and so replays the decision of any past run.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kfp_ratchet.components.gate.decision import decide as decide
    from kfp_ratchet.components.gate.files import judge as judge
    from kfp_ratchet.components.gate.policy import Policy as Policy

_HOMES = {"decide": "decision", "judge": "files", "Policy": "policy"}
__all__ = ["Policy", "decide", "judge"]


def __getattr__(name: str) -> Any:
    # Imported when first used: reading a policy must not wait for numpy and polars.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
