"""Every code block of README and docs works as printed, or says why it does not run."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest

import fastnn as fn
from fastnn.cli import main

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(
    r"^(?:<!-- (?P<mark>.*?) -->\n)?```(?P<language>\S*)\n(?P<code>.*?)^```$", re.DOTALL | re.M
)

# Of these languages, and directives of MyST, nothing runs.
SHOWN = {"text", "toml", "yaml", ""}
RUN_BY_NAME = {"pip", "pytest", "ruff", "mypy", "cython-lint", "sphinx-build"}


@dataclass
class Block:
    """A fenced block of code with the comment above it."""

    language: str
    code: str
    mark: str

    @property
    def runs(self):
        return not self.mark.startswith("not run: ")


def blocks(page):
    return [
        Block(found["language"], found["code"], found["mark"] or "")
        for found in FENCE.finditer(page.read_text())
    ]


def name(page):
    return str(page.relative_to(ROOT))


def python_blocks(page):
    return [block for block in blocks(page) if block.language == "python" and block.runs]


@pytest.mark.parametrize("page", [page for page in PAGES if python_blocks(page)], ids=name)
def test_python_blocks_run_in_order(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    threads = fn.get_num_threads()
    try:
        for block in python_blocks(page):
            if block.mark.startswith("needs "):
                pytest.importorskip(block.mark.removeprefix("needs "))
            exec(compile(block.code, name(page), "exec"), names)
    finally:
        fn.set_num_threads(threads)
    if page.name == "README.md":
        assert names["history"]["val_accuracy"][-1] > 0.9
        assert (tmp_path / "digits.safetensors").stat().st_size > 4 * 9000


def test_few_blocks_do_not_run():
    marked = [f"{name(page)}: {block.mark}" for page in PAGES for block in blocks(page) if not block.runs]
    assert marked == [
        "docs/guide/clusters.md: not run: needs a cluster",
        "docs/guide/clusters.md: not run: needs a cluster",
        "docs/guide/data.md: not run: reads data sets, or downloads them",
        "docs/guide/data.md: not run: downloads pictures",
        "docs/guide/logging.md: not run: needs an account",
        "docs/guide/saving.md: not run: needs a file of 244 MB",
        "docs/guide/training.md: not run: needs a processor with AVX512_BF16",
    ]


def test_languages_are_known():
    """A block in another language would be neither run nor checked."""
    languages = {block.language for page in PAGES for block in blocks(page)}
    assert {language for language in languages if not language.startswith("{")} <= SHOWN | {
        "python",
        "console",
    }


def commands():
    """The lines after a prompt in all pages."""
    for page in PAGES:
        for block in blocks(page):
            if block.language == "console":
                lines = block.code.splitlines()
                assert all(line.startswith("$ ") for line in lines), f"{name(page)} shows a line without $"
                yield from (line.removeprefix("$ ") for line in lines)


@pytest.mark.parametrize("command", list(dict.fromkeys(commands())))
def test_commands_are_understood(command, tmp_path, monkeypatch):
    words = shlex.split(re.sub(r"^(\w+=\S+ )*(mpirun -n \d+ )?", "", command))
    if words[0] == "fastnn":
        monkeypatch.chdir(tmp_path)
        write_settings(tmp_path)
        assert callable(main._parse([main._with_underscores(word) for word in words[1:]]))
    elif words[:3] == ["python", "-m", "mpi4py"]:
        assert words[3:] == ["script.py"]
    elif words[0] == "python":
        script = (ROOT / words[1]).read_text()
        options = [word.partition("=")[0] for word in words[2:] if word.startswith("--")]
        assert [option for option in options if f'"{option}"' not in script] == []
    else:
        assert words[0] in RUN_BY_NAME
        files = [word for word in words[1:] if "/" in word and "*" not in word and word != "build/docs"]
        assert [file for file in files if not (ROOT / file).exists()] == []


def write_settings(folder):
    """The settings file of the guide, under the name that its commands use."""
    guide = blocks(ROOT / "docs" / "guide" / "command_line.md")
    (folder / "config.yaml").write_text(next(block.code for block in guide if block.language == "yaml"))


def test_names_exist():
    text = "\n".join(page.read_text() for page in PAGES)
    used = set(re.findall(r"\bfn\.(\w+)", text))
    assert {"Sequential", "fit", "evaluate"} <= used
    assert used <= set(fn.__all__)


def test_commands_in_the_text_name_existing_scripts():
    text = "\n".join(page.read_text() for page in PAGES)
    scripts = set(re.findall(r"\b(?:bench|tests|docs/pictures)/[\w/]+\.py\b", text))
    assert {script for script in scripts if not (ROOT / script).exists()} == set()


def test_api_reference_lists_every_public_name():
    listed = set()
    for page in (ROOT / "docs" / "api").glob("*.md"):
        module = ""
        for line in page.read_text().splitlines():
            if line.startswith(".. currentmodule:: "):
                module = line.split()[-1]
            elif line.startswith(".. auto") and line.split()[-1] != "autosummary::":
                listed.add(f"{module}.{line.split()[-1]}")
    modules = {key for key in fn.__all__ if hasattr(getattr(fn, key), "__path__") or key in MODULES}
    wanted = {f"fastnn.{key}" for key in set(fn.__all__) - modules}
    for key in ("data", "nets", "viz"):
        wanted |= {f"fastnn.{key}.{each}" for each in getattr(fn, key).__all__}
    # The errors of data sets are documented under the names that scripts use.
    wanted -= {f"fastnn.data.{error}" for error in ("DatasetError", "DatasetNotFoundError")}
    assert wanted - listed == set()


MODULES = {"augment", "init", "metrics", "schedules"}


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files(page):
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[\w-]+)?\)|(?:srcset|src)=\"([^\"]+)\"", page.read_text())
    files = [link or picture for link, picture in targets]
    missing = [file for file in files if "://" not in file and not (page.parent / file).exists()]
    assert missing == []
