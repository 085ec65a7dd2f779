"""Write the guides as Jupyter notebooks, and run them.

    python docs/notebooks.py build/notebooks                  # write all
    python docs/notebooks.py build/notebooks --run            # and run them, each in a kernel of its own
    python docs/notebooks.py build/notebooks --run first_net  # some

A block of Python becomes a cell; one marked as not to be run, or whose library is missing, is skipped.
Needs jupytext, nbclient and ipykernel: pip install 'fastnn-kernels[notebooks]'.
"""

import argparse
import os
import re
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import jupytext
import nbformat

GUIDES = Path(__file__).resolve().parent / "guide"
SKIPPED = "skip-execution"  # the tag that nbclient knows
MARK = re.compile(r"<!-- (not run: .*|needs (\w+)) -->\s*\Z")
SECONDS = 300  # for one cell, on a slow machine


def notebook(guide):
    """The notebook of a guide, without outputs."""
    made = jupytext.reads(guide.read_text(), fmt="md")
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    before = ""
    for cell in made.cells:
        mark = MARK.search(before)
        if cell.cell_type == "code" and mark and (mark[2] is None or find_spec(mark[2]) is None):
            cell.metadata["tags"] = [SKIPPED]
        before = cell.source if cell.cell_type == "markdown" else ""
    nbformat.validate(made)
    return made


def run(made):
    """Run a notebook in a folder of its own; raises CellExecutionError for a cell that raises."""
    from nbclient import NotebookClient

    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(
            made,
            timeout=SECONDS,
            kernel_name="python3",
            extra_arguments=["--IPKernelApp.log_level=ERROR"],
            resources={"metadata": {"path": folder}},
        ).execute()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--run", nargs="*", metavar="GUIDE", help="run these, or all")
    options = parser.parse_args()
    guides = {guide.stem: guide for guide in sorted(GUIDES.glob("*.md")) if guide.stem != "index"}
    chosen = () if options.run is None else options.run or list(guides)
    if unknown := set(chosen) - set(guides):
        parser.error(f"unknown guides: {', '.join(sorted(unknown))}; there are {', '.join(guides)}")
    options.out.mkdir(parents=True, exist_ok=True)

    def make(name):
        made, start = notebook(guides[name]), time.perf_counter()
        if name in chosen:
            run(made)
            print(f"{name}: {time.perf_counter() - start:.1f} s", flush=True)
        nbformat.write(made, options.out / f"{name}.ipynb")

    # Each notebook has a process of its own: the threads wait.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(make, guides))  # raises the first error
    return 0


if __name__ == "__main__":
    sys.exit(main())
