# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.rampart.hardening.plugins.plugin_utils import ssh

DOCUMENTATION = r"""
name: ssh_plan
short_description: Decide how SSH has to be configured on a host
version_added: 0.1.0
author: The rampart authors (@rampart-hardening)
description:
  - Turns what the survey found of SSH on a host into what the templates of the role C(ssh) need to know.
  - Algorithms are those that the host's OpenSSH knows, lists of users and groups that the site has are completed.
positional: _input
options:
  _input:
    description: The C(ssh) part of the survey.
    type: dict
    required: true
  controls:
    description: The ids of the controls in force.
    type: list
    elements: str
    default: []
  people:
    description: The accounts that have to get in.
    type: list
    elements: str
    default: []
  login_group:
    description: The group whose members may log in.
    type: str
    default: ssh-login
  groups:
    description: The groups that these accounts are in already.
    type: list
    elements: str
    default: []
  limits:
    description: Keywords of sshd with the highest value allowed.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Show which key exchanges this host will offer
  ansible.builtin.debug:
    msg: "{{ (ansible_facts.rampart_survey.ssh | rampart.hardening.ssh_plan(controls=['ssh.algorithms'])).kex }}"
"""

RETURN = r"""
_value:
  description: What the templates need, and under C(refuse) why the host must be left alone.
  type: dict
"""


class FilterModule:
    def filters(self):
        return {"ssh_plan": ssh.plan}
