# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.rampart.hardening.plugins.plugin_utils import bastion

DOCUMENTATION = r"""
name: bastion_plan
short_description: Decide how people are treated on a jump server
version_added: 0.1.0
author: The rampart authors (@rampart-hardening)
description:
  - Turns the policy and what the survey found on a jump server into what the templates of the role C(bastion) need.
  - Accounts for which the site forces a command itself keep it.
positional: _input, permitted
options:
  _input:
    description: The whole survey.
    type: dict
    required: true
  permitted:
    description: What P(rampart.hardening.bastion_destinations#filter) says.
    type: list
    elements: str
    required: true
  shells:
    description: Who has a shell, which is recorded.
    type: list
    elements: str
    default: []
  spared:
    description: Accounts of machines, which log in as before.
    type: list
    elements: str
    default: []
  mfa:
    description: Whether a second factor is asked for on this host.
    type: bool
    default: true
  bans:
    description:
      - C(tries), C(seconds) and C(never), where fail2ban shuts out addresses on a host whose sshd cannot do so itself.
      - Limits of the site's own that are stricter stay.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Show who keeps a command that the site forces on them
  ansible.builtin.debug:
    msg: "{{ (ansible_facts.rampart_survey | rampart.hardening.bastion_plan([])).notes }}"
"""

RETURN = r"""
_value:
  description: What the templates need, and under C(refuse) why the host must be left alone.
  type: dict
"""


class FilterModule:
    def filters(self):
        return {"bastion_plan": bastion.plan}
