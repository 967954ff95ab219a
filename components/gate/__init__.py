"""Decide whether a candidate may replace the champion. Also a library, with no pipeline and no server.

>>> import numpy as np
>>> from kfp_ratchet.components.gate import Evidence, Policy, decide
>>> random = np.random.default_rng(0)
>>> truth = random.normal(size=3000)
>>> label = truth + random.normal(size=3000) > 0
>>> champion = 1 / (1 + np.exp(-truth + random.normal(size=3000)))
>>> candidate = 1 / (1 + np.exp(-truth + 0.5 * random.normal(size=3000)))
>>> decision = decide(Evidence.of(label, candidate, champion), Policy(metric="roc_auc", margin=0.002))
>>> print(decision.reason)
Promoted: roc_auc 0.799 beats the champion's 0.728 by 0.071 [0.056, 0.085], more than 0.002, on 3,000 rows.

`judge(folder, policy)` reads what `evaluate` wrote and so replays the decision of any past run. What evidence is stands in
`kfp_ratchet.components.shared.evidence`, what can be asked in `Policy`, how intervals are found in `gate.intervals`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kfp_ratchet.components.gate.decision import decide as decide
    from kfp_ratchet.components.gate.files import judge as judge
    from kfp_ratchet.components.gate.policy import Policy as Policy
    from kfp_ratchet.components.shared.evidence import Evidence as Evidence

_HOMES = {"Evidence": "shared.evidence", "Policy": "gate.policy", "decide": "gate.decision", "judge": "gate.files"}
__all__ = ["Evidence", "Policy", "decide", "judge"]


def __getattr__(name: str) -> Any:
    # Imported when first used: reading a policy must not wait for numpy and polars.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"kfp_ratchet.components.{_HOMES[name]}"), name)
