"""Put on PYTHONPATH: kills, once, the process of the step that the file KILL_AT names, when its work is done but not yet recorded."""

import os
import signal
from pathlib import Path

if at := os.environ.get("KILL_AT"):
    from kfp_ratchet.components.shared.journal import Step

    _write = Step.write

    def _die(self):
        if self.record.state == "succeeded" and Path(at).read_text() == self.record.step:
            Path(at).write_text("")
            os.kill(os.getpid(), signal.SIGKILL)
        _write(self)

    Step.write = _die
