# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.rampart.hardening.plugins.plugin_utils import audit

DOCUMENTATION = r"""
name: audit_change
short_description: Make a confirmed change of the audit trail
version_added: 0.1.0
author: The rampart authors (@rampart-hardening)
description:
  - Puts together the files of auditd, journald, rsyslog and AIDE, and the commands that check and activate them.
positional: _input, plan
options:
  _input:
    description: The whole survey.
    type: dict
    required: true
  plan:
    description: What P(rampart.hardening.audit_plan#filter) made of it.
    type: dict
    required: true
  contents:
    description: The rendered files, by their short names.
    type: dict
    required: true
  loaded:
    description: The program, in Python, that compares rules with those of the kernel.
    type: str
    default: ''
"""

EXAMPLES = r"""
- name: Show what would be changed
  ansible.builtin.debug:
    msg: "{{ (ansible_facts.rampart_survey | rampart.hardening.audit_change(plan, {})).files | map(attribute='path') }}"
  vars:
    plan: "{{ ansible_facts.rampart_survey | rampart.hardening.audit_plan }}"
"""

RETURN = r"""
_value:
  description:
    - C(files), C(validate), C(active), C(activate), C(revert), C(refuse) and C(notes), as
      M(rampart.hardening.confirmed_change) takes them in its O(rampart.hardening.confirmed_change#module:plan).
  type: dict
"""


class FilterModule:
    def filters(self):
        return {"audit_change": audit.change}
