"""A tiny workload (the mean target by group) that misbehaves as its hyperparameter `fault` says."""

import ctypes
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

from kfp_ratchet.components.train.labels import class_names, encode_target


class Faulty:
    def __init__(self, classes, overall, means, fault=""):
        self.classes, self.overall, self.means, self.fault = classes, overall, means, fault

    @classmethod
    def search_space(cls):
        return {"shrink": {"type": "float", "low": 0.1, "high": 10.0, "default": 1.0}}

    @classmethod
    def fit(cls, rows, validation, columns, parameters, context):
        fault = str(parameters.get("fault", ""))
        misbehave(fault, "fit")
        classes = class_names(rows[columns.target], columns)
        target = encode_target(rows[columns.target], classes)
        shrink, groups = float(parameters.get("shrink", 1.0)), rows["place"].to_numpy()
        overall = float(target.mean())
        means = {
            str(group): (float(target[groups == group].sum()) + shrink * overall)
            / (int((groups == group).sum()) + shrink)
            for group in sorted(set(groups))
        }
        context.report(1, {"loss": float("nan") if fault == "loss is nan" else 0.5 + shrink / 100})
        return cls(classes, overall, means, fault)

    def predict(self, rows):
        misbehave(self.fault, "predict")
        scores = np.array([self.means.get(place, self.overall) for place in rows["place"].to_list()])
        return {"nan": scores * np.nan, "inf": scores * np.inf}.get(self.fault.partition(" ")[0], scores)

    def save(self, folder: Path):
        misbehave(self.fault, "save")
        (folder / "faulty.json").write_text(json.dumps([self.classes, self.overall, self.means, self.fault]))
        if self.fault == "pickles":
            (folder / "model.pkl").write_bytes(b"\x80\x04N.")

    @classmethod
    def load(cls, folder: Path):
        return cls(*json.loads((folder / "faulty.json").read_text()))


def misbehave(fault, where):
    what, _, place = fault.partition(" in ")
    if (place or "fit") != where:
        return
    if what == "raises":
        raise KeyError("wheels")
    if what == "exits":
        sys.exit(0)
    if what == "leaves at once":
        os._exit(0)
    if what == "crashes":
        ctypes.string_at(0)
    if what == "hangs":
        time.sleep(3600)
    if what == "eats memory":
        import resource

        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 200_000_000, resource.RLIM_INFINITY))
        np.ones(10**10)
    if what == "moves away":
        os.chdir("/")
    if what == "closes stdout":
        sys.stdout.close()
        os.close(1)
    if what == "prints":
        for number in range(20_000):
            print(number, "x" * 990)
        print("the end of what it prints", "y" * 3_000_000)
    if what == "leaves a thread":
        threading.Thread(target=time.sleep, args=(3600,)).start()
    if what == "leaves children":
        for session in (False, True):
            subprocess.Popen(["sleep", "3600"], start_new_session=session)
    if what == "writes into the store":
        Path(".ratchet/store/ledger/rows").mkdir(parents=True, exist_ok=True)
        Path(".ratchet/store/ledger/rows/mine.txt").write_text("hello")
