"""What the lab's attack calls open, and what it works out to be allowed."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab"))
import attack
import lab
import portscan

FLOWS = [
    {"from": "controllers", "to": "jump", "port": 22},
    {"from": "jump", "to": "all", "port": 22},
    {"from": "any", "to": "web", "port": [80, 443]},
    {"from": "any", "to": "web", "port": 53, "proto": "udp"},
]
GROUPS = {"jump1": {"jump1", "jump"}, "web1": {"web1", "web"}, "db1": {"db1", "db"}, "test1": {"test1", "test"}}


@pytest.mark.parametrize(
    ("source", "target", "ports"),
    [
        (attack.CONTROLLER, "jump1", [22]),
        (attack.STRANGER, "jump1", []),
        (attack.STRANGER, "web1", [80, 443]),
        ("jump1", "web1", [22, 80, 443]),
        ("web1", "db1", []),
    ],
)
def test_declared(source, target, ports):
    assert attack.declared(FLOWS, GROUPS, source, target) == ports


def test_closed_behind_a_firewall_is_a_hole():
    assert attack.reachable({22: "open", 9: "closed"}, 1000) == [9, 22]
    assert attack.reachable({22: "open"} | dict.fromkeys(range(100, 1000), "closed"), 1000) == [22]


def test_no_knock_passes_for_the_answer_to_another():
    """Two hosts that knock at each other: a firewall takes the same two ports the other way round for an answer."""
    ports = (portscan.SOURCE, *portscan.OTHERS.values())
    knocks = {(portscan.OTHERS.get(port, portscan.SOURCE), port) for port in ports}
    assert not {(port, source) for source, port in knocks} & knocks


@pytest.mark.skipif(os.geteuid() != 0, reason="raw sockets need root")
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_scan(address):
    with socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET) as server:
        port = server.getsockname()[1]
        answers = portscan.scan(address, [port, *portscan.OTHERS])
    assert answers == {port: "open"} | dict.fromkeys(portscan.OTHERS, "closed")


def test_a_recipe_changes_what_is_made_from_it(tmp_path, monkeypatch):
    for path in lab.RECIPES.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(lab, "RECIPES", tmp_path)
    before = {tag: lab.recipe_hash(tag) for tag in lab.IMAGES}
    (tmp_path / "web.sh").write_text("other", encoding="utf-8")
    assert {tag for tag in lab.IMAGES if lab.recipe_hash(tag) != before[tag]} == {"web"}
    (tmp_path / "base.sh").write_text("other", encoding="utf-8")
    assert {tag for tag in lab.IMAGES if lab.recipe_hash(tag) != before[tag]} == set(lab.IMAGES)
