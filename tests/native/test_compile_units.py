"""What is compiled again: units whose command, source or headers have other contents than before."""

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("compile_units", ROOT / "kernels/native/compile_units.py")
building = sys.modules["compile_units"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(building)

COMPILER = shutil.which("c++") or shutil.which("g++")
compiles = pytest.mark.skipif(COMPILER is None, reason="needs a C++ compiler")


class Project:
    """Two units: a.cpp, which includes headers of its own folder and of another one, and b.cpp."""

    def __init__(self, folder):
        self.folder, self.outside = folder, folder / "numpy of today"
        self.write("src/common.hpp", "#define COMMON 1")
        self.write("src/a.hpp", '#include "common.hpp"')
        self.write("src/a.cpp", '#include "a.hpp"\n#include "outside.hpp"\nint a = COMMON + OUTSIDE;')
        self.write("src/b.cpp", "int b = 2;")
        self.write("numpy of today/outside.hpp", "#define OUTSIDE 1")

    def write(self, name, text):
        (self.folder / name).parent.mkdir(exist_ok=True)
        (self.folder / name).write_text(text)

    def build(self, *flags, force=False):
        """The names of the units compiled."""
        include = (str(self.folder / "src"), str(self.outside))
        units = [
            building.Unit(
                self.folder / "src" / f"{name}.cpp",
                self.folder / "objects" / f"{name}.o",
                (COMPILER, *flags),
                include,
            )
            for name in "ab"
        ]
        lines = []
        building.compile_units(units, 2, lines.append, force)
        assert all(unit.object.exists() for unit in units)
        assert lines[0] == f"{2 - len(lines[1:])} of 2 objects are up to date"
        assert [line.split()[0] for line in lines[1:]] == [
            f"[{i}/{len(lines) - 1}]" for i in range(1, len(lines))
        ]
        return {Path(line.split()[1]).name for line in lines[1:]}


@pytest.fixture
def project(tmp_path):
    project = Project(tmp_path)
    assert project.build() == {"a.cpp", "b.cpp"}
    assert project.build() == set()
    return project


@compiles
def test_a_changed_source_is_compiled_again(project):
    project.write("src/b.cpp", "int b = 3;")
    assert project.build() == {"b.cpp"}
    assert project.build() == set()


@compiles
@pytest.mark.parametrize("header", ["a.hpp", "common.hpp"])
def test_units_that_include_a_changed_header_are_compiled_again(project, header):
    project.write(f"src/{header}", "#define COMMON 5")
    assert project.build() == {"a.cpp"}


@compiles
def test_the_same_contents_need_no_compiler(project):
    project.write("src/common.hpp", (project.folder / "src/common.hpp").read_text())
    assert project.build() == set()


@compiles
def test_other_flags_compile_everything_again(project):
    assert project.build("-O1") == {"a.cpp", "b.cpp"}
    assert project.build("-O1") == set()


@compiles
def test_force_compiles_everything_again(project):
    assert project.build(force=True) == {"a.cpp", "b.cpp"}


@compiles
def test_an_include_folder_may_move_but_not_change(project):
    """NumPy's headers are in another temporary folder in every isolated build."""
    project.outside = project.outside.rename(project.folder / "numpy of tomorrow")
    assert project.build() == set()
    project.write("numpy of tomorrow/outside.hpp", "#define OUTSIDE 2")
    assert project.build() == {"a.cpp"}


@compiles
@pytest.mark.parametrize("lost", ["a.o", "a.json"])
def test_a_lost_object_or_record_is_made_again(project, lost):
    (project.folder / "objects" / lost).unlink()
    assert project.build() == {"a.cpp"}


@compiles
def test_a_damaged_record_does_not_count(project):
    project.write("objects/a.json", "{")
    assert project.build() == {"a.cpp"}


@compiles
def test_an_error_names_the_file_and_is_not_forgotten(project):
    project.write("src/b.cpp", "int b = nonsense;")
    for _ in range(2):
        with pytest.raises(building.CompilationError, match=r"(?s)b\.cpp.*nonsense"):
            project.build()
    project.write("src/b.cpp", "int b = 2;")
    assert project.build() == {"b.cpp"}


@compiles
def test_warnings_are_reported(tmp_path):
    project = Project(tmp_path)
    project.write("src/b.cpp", "int f() { int unused; return 2; }")
    lines = []
    unit = building.Unit(tmp_path / "src/b.cpp", tmp_path / "b.o", (COMPILER, "-Wall"))
    building.compile_units([unit], 1, lines.append)
    assert "unused" in lines[-1]


def test_rules_for_make_are_read():
    rule = "folder/x.o: x.cpp \\\n in\\ the\\ way/a.hpp \\\n b.hpp\n"
    assert building.files_of_rule(rule) == ["x.cpp", "in the way/a.hpp", "b.hpp"]


def test_rules_with_the_paths_of_windows_are_read():
    rule = "C:\\new\\x.obj: kernels/x.cpp \\\n C:\\my\\ files\\a.hpp \\\n native\\b.hpp\n"
    assert building.files_of_rule(rule) == ["kernels/x.cpp", "C:\\my files\\a.hpp", "native\\b.hpp"]
