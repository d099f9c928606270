# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.rampart.hardening.plugins.plugin_utils import audit

DOCUMENTATION = r"""
name: audit_plan
short_description: Decide what a host writes down and where it goes
version_added: 0.1.0
author: The rampart authors (@rampart-hardening)
description:
  - Turns the policy and what the survey found on a host into what the templates of the role C(audit) need to know.
  - What the site has set and is not weaker stays. What would undo ours is refused by name.
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
  forward:
    description: The collector, as C(hardening_log_collector) has it.
    type: dict
  halt:
    description: Whether the host stops when it can no longer write.
    type: bool
    default: false
  log_file_mb:
    description: How large each of auditd's files grows.
    type: int
    default: 32
  log_files:
    description: How many files auditd keeps.
    type: int
    default: 10
  journal_max:
    description: How much of the disk the journal takes.
    type: str
    default: 1G
  time_servers:
    description: Servers of time.
    type: list
    elements: str
    default: []
  aide:
    description: Whether files are compared, whatever the level.
    type: bool
    default: false
  jump:
    description: Whether this is a jump server, which writes down who went where.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Show what is missing
  ansible.builtin.debug:
    msg: "{{ (ansible_facts.rampart_survey | rampart.hardening.audit_plan(controls=['audit.auditd'])).packages }}"
"""

RETURN = r"""
_value:
  description: What the templates need, and under C(refuse) why the host must be left alone.
  type: dict
"""


class FilterModule:
    def filters(self):
        return {"audit_plan": audit.plan}
