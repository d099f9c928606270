# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The worked example of docs/cloud-segmentation.md: databases that only the jump server reaches."""

from __future__ import annotations

import sys

from harness import COLLECTIONS

sys.path.insert(0, str(COLLECTIONS))
from ansible_collections.rampart.hardening.plugins.plugin_utils.segmentation import compile_segments  # noqa: E402

CONTROLLERS = ["198.51.100.0/24"]
GROUPS = {"jump": ["jump1"], "web": ["web1", "web2"], "db": ["db1", "db2"]}
HOSTS = ["jump1", "web1", "web2", "db1", "db2"]
FLOWS = [
    {"from": "controllers", "to": "jump", "port": 22},
    {"from": "jump", "to": "all", "port": 22},
    {"from": "any", "to": "web", "port": 443},
    {"from": "jump", "to": "db", "port": 3306},
]


def policy(ids, flows=None, groups=None, hosts=None, **kwargs):
    """What the filter makes of flows; *ids* are the instances, *hosts* more variables of hosts."""
    groups = groups or GROUPS
    everybody = sorted({host for members in groups.values() for host in members})
    variables = {
        host: {"instance": ids.get(host), "ansible_host": "127.0.0.1", **(hosts or {}).get(host, {})}
        for host in everybody
    }
    given = {"controllers": CONTROLLERS, **kwargs}
    return compile_segments(flows or FLOWS, {"all": everybody, **groups}, variables, "instance", **given)
