"""Load damaged model files: each must give the model that was saved, or `CheckpointError`.

    python tests/model_fuzz.py --count 5000

Half of the files have random changes of their bytes, half of them a changed record with a valid checksum.
The model may differ then, but it must be a whole one, which is the same after it is saved and loaded again.
"""

import argparse
import copy
import json
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import fastnn as fn
from fastnn import model_record
from fastnn.architecture import describe
from fastnn.weights import RECORD
from tests.json_mutations import json_mutations
from tests.mutations import mutations
from tests.systems import peak_memory

GOLDEN = Path(__file__).parent / "golden" / "format1.safetensors"
MOST_MEMORY = 256 << 20  # the file has 6 KB
MOST_SECONDS = 10.0


def read_record(path):
    with safe_open(path, "np") as file:
        return json.loads(file.metadata()[RECORD])


def write_record(path, record, arrays):
    """Write a file with any record, whose checksum is right."""
    rest = {name: value for name, value in record.items() if name != "crc32"}
    checksum = model_record._checksum(rest, arrays)
    save_file(arrays, path, {RECORD: json.dumps({**rest, "crc32": checksum})})


def content(model):
    held = (*model.named_parameters(), *model.named_buffers())
    arrays = {name: (each.dtype, each.shape, each.value.tobytes()) for name, each in held}
    return describe(model), arrays, model.classes if model.classes is None else model.classes.tolist()


def load(path):
    """Load a file within limits of time and memory; None for `CheckpointError`."""
    start, memory = time.perf_counter(), peak_memory()
    try:
        return fn.load(path)
    except fn.CheckpointError:
        return None
    finally:
        assert time.perf_counter() - start < MOST_SECONDS
        assert peak_memory() - memory < MOST_MEMORY


def fuzz(count, seed=0):
    """Load `count` damaged files; returns how many gave the model, another model, and `CheckpointError`."""
    outcomes = Counter()
    saved, record, arrays = content(fn.load(GOLDEN)), read_record(GOLDEN), load_file(GOLDEN)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.safetensors")

        def check(is_same_expected):
            try:
                model = load(path)
                if model is None:
                    outcomes["error"] += 1
                elif content(model) == saved:
                    outcomes["same model"] += 1
                else:
                    assert not is_same_expected
                    outcomes["another model"] += 1
                    fn.save(model, path)
                    assert content(fn.load(path)) == content(model)
            except BaseException:
                os.replace(path, Path(tempfile.gettempdir(), "model-fuzz.safetensors"))
                raise

        for damaged in mutations(GOLDEN.read_bytes(), count - count // 2, seed):
            path.write_bytes(damaged)
            check(is_same_expected=True)
        rng = np.random.default_rng(seed)
        for changed in json_mutations(record, count // 2, seed):
            others = copy.copy(arrays)
            if rng.random() < 0.1:
                others.pop(sorted(others)[rng.integers(len(others))])
            write_record(path, changed, others)
            check(is_same_expected=False)
    return outcomes


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    outcomes = fuzz(options.count, options.seed)
    print(f"{outcomes.total()} files: {dict(outcomes)}")


if __name__ == "__main__":
    main()
