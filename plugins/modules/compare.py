#!/usr/bin/python
# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# All of it runs in the action plugin of this name, on the controller; this file documents it.

from __future__ import annotations

DOCUMENTATION = r"""
---
module: compare
short_description: Hold what all roles of the play want against the host, in one round trip
version_added: 0.1.0
author: The rampart authors (@rampart-hardening)
description:
  - Where nothing differs, the roles of the play need not ask the host again, and P(rampart.hardening.due#lookup) tells
    them so.
  - Where anything does, or cannot be told, every role compares for itself.
  - Changes nothing.
attributes:
  check_mode:
    description: Can run in check mode, where it does the same, as it only reads.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Compare everything at once
  rampart.hardening.compare:
"""

RETURN = r"""
ansible_facts:
  description: In C(rampart_compared) the roles that have nothing to do in this run.
  returned: where all could be compared
  type: dict
"""
