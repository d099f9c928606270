#!/usr/bin/python
# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# All of it runs in the action plugin of this name, on the controller; this file documents it.

from __future__ import annotations

DOCUMENTATION = r"""
---
module: preflight
short_description: Refuse, before anything is changed, what would end access to the host
version_added: 0.1.0
author: The rampart authors (@rampart-hardening)
description:
  - Surveys the host, once a run, with M(rampart.hardening.survey); later calls in the same run need no round trip.
  - Compares the policy of the inventory with how the host is reached, and fails with all that would lock people or the
    controller out, and with what to add to the inventory.
  - The first task of every role. Changes nothing.
attributes:
  check_mode:
    description: Can run in check mode, where it does the same, as it only reads.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Look at the host, and refuse what would end access
  rampart.hardening.preflight:
"""

RETURN = r"""
refusals:
  description: Why the run must not go on.
  returned: failure
  type: list
  elements: str
ansible_facts:
  description: What the survey found, as C(rampart_survey).
  returned: when the host was not yet surveyed in this run
  type: dict
"""
