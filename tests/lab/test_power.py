# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The power of a machine with a disk of its own is cut while a change is under way: it boots, old or new, reachable."""

from __future__ import annotations

import hashlib
import os
import time

import pytest
from faults import MANIFEST, PREPARE, Play, after, change, difference
from machine import SLOW, Machine, vm

CUTS = int(os.environ.get("CUTS", "10"))
SEED = os.environ.get("SEED") or str(int(time.time()))
CHANGES = "/var/lib/rampart/changes"


@pytest.fixture
def machine():
    """Debian 12 with the automation account."""
    found = Machine("power12", "bookworm")
    found.book("site", "--tags", "admin_accounts,ssh")
    yield found
    vm("down", found.name)


def chance(number):
    """Between 0 and 1, by the seed."""
    return int.from_bytes(hashlib.sha256(f"{SEED}-{number}".encode()).digest()[:4]) / 2**32


def wishes(number):
    """A change of a login service and of files, whose contents differ from round to round."""
    found = change(role=f"cut-{number}", confirm_timeout=60)
    for wish in found["files"]:
        if "content" in wish and "ssh" not in wish["path"] and "subuid" not in wish["path"]:
            wish["content"] = f"round {number}\n" * 50
    found["files"][0]["content"] = f"MaxAuthTries {2 + number % 3}\n"
    return found


def test_a_power_cut_leaves_it_old_or_new(machine):
    """Cut while a change is armed, from the first trace in the journal to a little beyond its end."""
    print(f"seed {SEED}")
    machine.sh("\n".join(PREPARE.strip().splitlines()[-3:]))  # the files that it is about
    outcomes = []
    for number in range(CUTS + 1):  # the first is left undisturbed, to see how long one takes
        wish, before, known = wishes(number), machine.python(MANIFEST), machine.sh(f"ls {CHANGES} | wc -l").strip()
        play = Play(machine, [{"rampart.hardening.confirmed_change": wish}], env=SLOW)
        machine.sh(f"timeout 120 sh -c 'while [ $(ls {CHANGES} | wc -l) = {known} ]; do sleep 0.1; done'")
        began = time.monotonic()
        if not number:
            said = play.end()
            assert not play.code, said
            usual = time.monotonic() - began
            continue
        time.sleep(1.1 * usual * chance(number))
        vm("kill", machine.name)
        play.kill()
        vm("start", machine.name)
        journal = machine.settled()
        states = [entry["state"] for entry in journal.values() if entry.get("role") == wish["role"]]
        found = machine.python(MANIFEST)
        new = not difference(found, after(before, wish))
        assert new or not difference(found, before), f"round {number}: neither: {difference(found, before)}"
        assert states == ["confirmed"] if new else set(states) <= {"reverted", "abandoned", "staged"}, states
        assert machine.reachable()
        outcomes.append("new" if new else "old")
    print(f"an undisturbed change takes {usual:.1f} s; after {CUTS} cuts: {outcomes}")
