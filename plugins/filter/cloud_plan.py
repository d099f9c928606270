# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.rampart.hardening.plugins.plugin_utils import cloud

DOCUMENTATION = r"""
name: cloud_plan
short_description: Decide what becomes of the keys to clouds that lie on a host
version_added: 0.2.0
author: The rampart authors (@rampart-hardening)
description:
  - Compares what the survey found with what is allowed, and says what is to be removed.
  - Leaves alone what something uses and what holds other things too, unless its path is named.
positional: _input
options:
  _input:
    description: The whole survey.
    type: dict
    required: true
  controls:
    description: The ids of the controls in force.
    type: list
    elements: str
    default: []
  allowed:
    description: Files that may hold keys, each with C(path), a shell pattern, and C(reason).
    type: list
    elements: dict
    default: []
  remove:
    description: Whether files with keys are removed, or which, by kind and path.
    type: raw
    default: false
"""

EXAMPLES = r"""
- name: Show the keys to clouds that lie on a host
  ansible.builtin.debug:
    msg: "{{ (ansible_facts.rampart_survey | rampart.hardening.cloud_plan(['cloud.no_static_keys'])).found }}"
"""

RETURN = r"""
_value:
  description: What to do.
  type: dict
  contains:
    change:
      description: The C(plan) of M(rampart.hardening.confirmed_change).
      type: dict
    found:
      description: The keys that stay though nobody allowed them, each with place, kind, owner and what uses it.
      type: list
      elements: str
"""


class FilterModule:
    def filters(self):
        return {"cloud_plan": cloud.plan}
