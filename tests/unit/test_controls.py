# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every control has a test that verifies it, every test verifies a control, and neither borrows from the other."""

from __future__ import annotations

import ast
import pathlib

import pytest
from ansible_collections.rampart.hardening.plugins.plugin_utils import policy

BASELINE = pathlib.Path(__file__).parents[1] / "baseline"


def marked(source: str) -> tuple[set[str], list[str]]:
    """The ids that tests are marked with, and the tests without a mark."""
    ids, unmarked = set(), []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            own = {
                call.args[0].value
                for call in node.decorator_list
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.control"
            }
            ids |= own
            if len(own) != 1:
                unmarked.append(node.name)
    return ids, unmarked


def imported(source: str) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append("." * node.level + (node.module or ""))
    return names


def complaints(controls: dict[str, dict], baseline: pathlib.Path) -> list[str]:
    found = []
    tested: dict[str, set[str]] = {role: set() for role in sorted({control["role"] for control in controls.values()})}
    for path in sorted(baseline.glob("test_*.py")):
        role = path.stem.removeprefix("test_")
        ids, unmarked = marked(path.read_text(encoding="utf-8"))
        tested[role] = ids
        found += [f"{path.name}: {name} verifies no control" for name in unmarked]
        for name in sorted(ids):
            if controls.get(name, {}).get("role") != role:
                found.append(f"{path.name}: role {role} has no control {name}")
    found += [
        f"control {name} has no test in test_{control['role']}.py"
        for name, control in controls.items()
        if name not in tested[control["role"]]
    ]
    return found


def test_controls_and_tests_match():
    assert complaints(policy.load_controls(), BASELINE) == []


@pytest.mark.parametrize("path", sorted(BASELINE.glob("*.py")), ids=lambda path: path.name)
def test_baseline_shares_no_code_with_what_it_judges(path):
    assert [name for name in imported(path.read_text(encoding="utf-8")) if "ansible" in name or name[0] == "."] == []


MARK = '@pytest.mark.control("{}")\ndef test_{}(host): pass\n'


@pytest.mark.parametrize(
    "tests, expected",
    [
        ({"ssh": MARK.format("ssh.a", "a")}, []),
        ({"ssh": ""}, ["control ssh.a has no test in test_ssh.py"]),
        ({}, ["control ssh.a has no test in test_ssh.py"]),
        (
            {"ssh": MARK.format("ssh.a", "a") + MARK.format("ssh.b", "b")},
            ["test_ssh.py: role ssh has no control ssh.b"],
        ),
        (
            {"ssh": MARK.format("ssh.a", "a") + "def test_b(host): pass\n"},
            ["test_ssh.py: test_b verifies no control"],
        ),
        (
            {"other": MARK.format("ssh.a", "a")},
            ["test_other.py: role other has no control ssh.a", "control ssh.a has no test in test_ssh.py"],
        ),
    ],
)
def test_a_mismatch_is_told(tmp_path, tests, expected):
    for role, source in tests.items():
        (tmp_path / f"test_{role}.py").write_text(source)
    assert complaints({"ssh.a": {"role": "ssh"}}, tmp_path) == expected


def test_a_borrowed_import_is_seen():
    assert imported("from ansible_collections.x import y\nfrom ..roles import z\nimport json") == [
        "ansible_collections.x",
        "..roles",
        "json",
    ]
