"""Let the unit tests import the collection, and look its plugins up, by their full names.

A test says `from ansible_collections.rampart.hardening.plugins.plugin_utils import policy`, as plugins themselves do.
"""

from __future__ import annotations

from pathlib import Path

from ansible.plugins.loader import init_plugin_loader

ROOT = Path(__file__).resolve().parents[2]
COLLECTIONS = ROOT / ".cache/collections"

# tests/setup.sh makes this link too; here it serves whoever calls pytest without make
link = COLLECTIONS / "ansible_collections/rampart/hardening"
if not link.is_symlink():
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to("../../../..")

init_plugin_loader([str(COLLECTIONS)])
