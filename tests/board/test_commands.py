"""`fastnn train --watch` and `fastnn board` as a user runs them."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from .test_runs import write_run


def start(folder, *words):
    return subprocess.Popen(
        [sys.executable, "-m", "fastnn", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def address(process):
    """Read the output of a command up to the address of its page."""
    for line in process.stdout:
        if found := re.search(r"http://127\.0\.0\.1:\d+/\S+/", line):
            return found[0]
    pytest.fail("the command printed no address")


def test_a_watched_run_can_be_stopped_and_writes_everything(tmp_path):
    process = start(tmp_path, *["train", "digits", "--epochs", "100000", "--out", "run", "--watch"])
    url = address(process)
    with urllib.request.urlopen(url + "events") as events:
        message = json.loads(next(iter(events)).removeprefix(b"data: "))
    assert message["status"] in ("waiting", "training")
    time.sleep(0.3)
    urllib.request.urlopen(urllib.request.Request(url + "stop", method="POST"))
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    assert history["stopped"] == "stopped on the live page"
    assert history["test"]["accuracy"] > 0.05
    assert {"weights.safetensors", "curves.png", "confusion.png"} <= {
        p.name for p in (tmp_path / "run").iterdir()
    }


def test_a_busy_port_is_refused_before_the_run(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start(tmp_path, *f"train digits --out run --watch --port {port}".split())
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"port {port} is in use: choose another port" in output
    assert not (tmp_path / "run").exists()


def test_board_serves_until_ctrl_c(tmp_path):
    write_run(tmp_path / "runs" / "a")
    process = start(tmp_path, "board")
    url = address(process)
    with urllib.request.urlopen(url + "runs.json") as reply:
        assert [run["name"] for run in json.load(reply)["runs"]] == ["a"]
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "Traceback" not in output


def test_board_of_a_folder_without_runs_says_so(tmp_path):
    process = start(tmp_path, "board", ".")
    address(process)
    assert ". has no runs of fastnn train yet: give the folder" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)


def test_board_of_a_missing_folder(tmp_path):
    process = start(tmp_path, "board", "nowhere")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "nowhere is no folder: give the folder that has the runs of fastnn train" in output
