# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.rampart.hardening.plugins.plugin_utils import bastion

DOCUMENTATION = r"""
name: bastion_change
short_description: Make a confirmed change of a jump server
version_added: 0.1.0
author: The rampart authors (@rampart-hardening)
description:
  - Puts together the drop-in for sshd, the files that record and log, and the commands that check and activate them.
positional: _input, plan
options:
  _input:
    description: The whole survey.
    type: dict
    required: true
  plan:
    description: What P(rampart.hardening.bastion_plan#filter) made of it.
    type: dict
    required: true
  sshd:
    description: The content of the drop-in for sshd.
    type: str
    required: true
  contents:
    description: The contents of the other files, by name.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show which files a jump server gets
  ansible.builtin.debug:
    msg: "{{ (ansible_facts.rampart_survey | rampart.hardening.bastion_change(plan, sshd='', contents={})).files }}"
  vars:
    plan: "{{ ansible_facts.rampart_survey | rampart.hardening.bastion_plan([]) }}"
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
        return {"bastion_change": bastion.change}
