# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that the roles' variables need, imported once a run instead of once for every task on every host.

Ansible imports a task's action plugin, then forks a process for each host, which has what was imported before the fork.
Whatever it imports itself of a collection it has to compile, as Ansible keeps no compiled code of collections.
"""

from __future__ import annotations

import contextlib

from ansible.plugins.loader import filter_loader, lookup_loader, test_loader
from ansible_collections.rampart.hardening.plugins.plugin_utils import policy


def load() -> None:
    """Import it all; what is there already costs nothing."""
    filter_loader.get("rampart.hardening.compile_flows")  # with the first one Ansible loads all of ours, and its own
    test_loader.get("ansible.builtin.defined")
    for name in ("controls", "due", "rendered"):
        lookup_loader.get(f"rampart.hardening.{name}", class_only=True)
    lookup_loader.get("ansible.builtin.file", class_only=True)
    with contextlib.suppress(policy.PolicyError):  # said by the task that asks for them
        policy.load_controls()
