"""Small experiments for the tests; processes of their own import this module by its name."""

import os
import signal
import time
from pathlib import Path

import numpy as np

import fastnn as fn


def train(p):
    if p.calls:
        with open(p.calls, "a") as file:
            file.write("x")
    print("a line for the log")
    history = fn.History()
    history.add_updates({"loss": [3.0, 2.0, 1.0]})
    history.add_epoch({"loss": 2.0, "accuracy": p.value})
    return {"value": p.value, "array": np.arange(6.0).reshape(2, 3), "runs": [history], "note": {"text": "ä"}}


def show(result, report):
    report.expect("T-1", "value", result["value"], 0.5, atol=0.1, because="a reason")
    report.claim("T-2", "the value is positive", result["value"] > 0, f"{result['value']}")
    report.figure("T-3", "curve", lambda path: fn.viz.save_bands({"a": result["runs"]}, path, name="loss"))


def fail(p):
    raise RuntimeError("the experiment is wrong")


def lack_data(p):
    raise fn.DatasetNotFoundError("put the faces into the folder faces")


def die(p):
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(p):
    Path(p.calls).write_text("started")
    time.sleep(600)
    return {}


def experiment(id="t.one", train=train, **options):
    full = {"value": 0.5, "calls": "", "unused": 0}
    options = {
        "full": full,
        "quick": {"unused": 1},
        "variants": {"corrected": {}, "as-written": {"value": 0.9}},
    } | options
    return fn.Experiment(
        id=id, title="a title", items=("T-1", "T-2", "T-3"), train=train, show=show, **options
    )


EXPERIMENTS = [experiment(), experiment("t.two")]
