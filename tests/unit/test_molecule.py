"""Molecule passes over a playbook that is not there without a failure: so nothing may be misspelt."""

from __future__ import annotations

from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


def test_every_role_has_its_scenario():
    scenarios = {path.parent.name for path in ROOT.glob("molecule/*/molecule.yml")}
    assert scenarios == {path.parents[1].name for path in ROOT.glob("roles/*/tasks/main.yml")}


def test_every_playbook_of_the_sequence_is_there():
    config = yaml.safe_load((ROOT / ".config/molecule/config.yml").read_text())
    named = [*config["ansible"]["playbooks"].values()]
    for step in config["scenario"]["test_sequence"]:
        assert step.split()[0] in {*config["ansible"]["playbooks"], "check", "idempotence", "syntax"}
        named += step.split()[1:]
    assert [path for path in named if not (ROOT / "molecule/any" / path).resolve().is_file()] == []
