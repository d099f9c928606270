"""The documentation generator: what it writes, and that it notices what is missing."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SPEC = """
argument_specs:
  main:
    short_description: Doors
    description: Shuts V(all) of the B(doors), see L(the manual,https://example.org/a).
    options:
      doors_list:
        type: list
        elements: dict
        default: []
        description: The doors.
        options:
          name: {type: str, required: true, description: What it is called}
      doors_mode: {type: str, default: shut, choices: [shut, ajar], description: How far.}
"""
CONTROLS = """
controls:
  - id: doors.front
    title: The front door is shut
    why: Draughts.
    level: 1
    references: [CIS 1.2]
    may_break: Visits.
"""
COVERAGE = """
benchmarks:
  - name: CIS
    about: Doors.
    levels: [1]
    recommendations:
      "1.2": {level: 1, words: the front, lacks: locks}
      2.1-2.3: {level: 1, words: the back, left: there is none}
"""
TEST = """
@pytest.mark.control("doors.front")
def test_front(host):
    assert host
"""


@pytest.fixture
def generate():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tree(tmp_path):
    for path, text in {
        "roles/doors/meta/argument_specs.yml": SPEC,
        "roles/doors/meta/controls.yml": CONTROLS,
        "tests/baseline/test_doors.py": TEST,
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


def test_readme_shows_variables_and_controls(generate, tree):
    page = generate.readme(tree, "doors")
    assert "Shuts `all` of the **doors**, see [the manual](https://example.org/a)." in page
    assert "| [doors.front](../../docs/controls.md#doorsfront) | 1 | The front door is shut |" in page
    assert "- **`doors_list`** (list of dict, default `[]`)" in page
    assert "  - **`name`** (str, required)" in page
    assert "- **`doors_mode`** (str, default `shut`, one of `shut`, `ajar`)" in page


def test_controls_name_the_test_that_verifies_them(generate, tree):
    page = generate.control_list(tree)
    assert "### doors.front" in page
    assert "*May break:* Visits." in page
    assert "*Verified by:* `tests/baseline/test_doors.py::test_front`" in page


def test_nothing_to_complain_about(generate, tree):
    assert generate.problems(tree) == []


def test_control_without_test(generate, tree):
    (tree / "tests/baseline/test_doors.py").unlink()
    assert generate.problems(tree) == ["control doors.front has no test in tests/baseline"]


def test_test_without_control(generate, tree):
    (tree / "tests/baseline/test_doors.py").write_text(TEST.replace("front", "back") + TEST)
    expected = "tests/baseline/test_doors.py::test_back tests doors.back, which no role declares"
    assert generate.problems(tree) == [expected]


def test_control_declared_twice(generate, tree):
    other = tree / "roles/windows/meta"
    other.mkdir(parents=True)
    (other / "argument_specs.yml").write_text(SPEC)
    (other / "controls.yml").write_text(CONTROLS)
    assert generate.problems(tree) == ["control doors.front is declared more than once"]


@pytest.fixture
def judged(generate, tree):
    """judged(OLD, NEW): the problems once docs/coverage.yml has NEW in place of OLD."""

    def judge(old="", new=""):
        (tree / "docs").mkdir(exist_ok=True)
        (tree / "docs/coverage.yml").write_text(COVERAGE.replace(old, new))
        return generate.problems(tree)

    return judge


def test_coverage_names_controls_and_reasons(generate, tree, judged):
    assert judged() == []
    page = generate.coverage(tree)
    assert "| 1.2 | 1 | the front | **partly** | [doors.front](controls.md#doorsfront); locks |" in page
    assert "| 2.1-2.3 | 1 | the back | **left out** | there is none |" in page
    assert "| 1 | 0 | 1 | 3 | 0 |" in page


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (", left: there is none", "", "CIS 2.1 has neither control nor reason"),
        ("left:", "lacks:", "CIS 2.1 is met partly, and no control refers to it"),
        ("lacks:", "moot:", "CIS 1.2 is left out, and doors.front refers to it"),
        ('"1.2"', '"1.3"', "doors.front refers to CIS 1.2, which there is not"),
        ("CIS", "CIS 12", "control doors.front refers to CIS 1.2, which is of no benchmark in docs/coverage.yml"),
    ],
)
def test_recommendation_without_control_or_reason(judged, old, new, problem):
    assert problem in judged(old, new)


def test_this_repository_is_up_to_date(generate):
    assert generate.problems(ROOT) == []
    for path, text in generate.documents(ROOT).items():
        assert path.exists() and path.read_text() == text, f"{path} is not up to date: run make docs"
