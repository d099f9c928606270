# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    """What the modules for segmentation share."""

    DOCUMENTATION = r"""
attributes:
  check_mode:
    description: Reads everything, refuses what a run would refuse, and writes nothing.
    support: full
  diff_mode:
    description: Shows the rules and the groups of each interface.
    support: full
options:
  policy:
    description: What the filter P(rampart.hardening.cloud_segments#filter) makes of C(hardening_flows).
    type: dict
    required: true
  allow_world:
    description:
      - What the world may reach although it would be refused, in IPv4 and IPv6, whatever range of ports covers it.
      - These are SSH (22), RDP (3389) and databases (1433, 1434, 1521, 3306, 5432, 5984, 6379, 9042, 9200, 9300, 11211,
        27017 to 27019, 50000).
    type: list
    elements: dict
    default: []
    suboptions:
      segment:
        description: The segment, or the group of others that is kept.
        type: str
        required: true
      port:
        description: The port.
        type: int
        required: true
      reason:
        description: Why, for whoever reads the result.
        type: str
        required: true
"""
