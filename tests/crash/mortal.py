"""Run as a script: for each line on standard input a child does what register and deploy do, and may be killed at it.

All is imported before the first child is forked, so that a kill hits work and not imports.
"""

import importlib.util
import json
import os
import sys
import traceback
from pathlib import Path

spec = importlib.util.spec_from_file_location("crash_conftest", Path(__file__).with_name("conftest.py"))
crash = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = crash
spec.loader.exec_module(crash)
importlib.import_module("mlflow.store.tracking.sqlalchemy_store")

world = crash.World(Path(sys.argv[1]))
for line in sys.stdin:
    child = os.fork()
    if not child:
        try:
            world.run(**json.loads(line))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
