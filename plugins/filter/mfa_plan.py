# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.rampart.hardening.plugins.plugin_utils import mfa

DOCUMENTATION = r"""
name: mfa_plan
short_description: Decide who shows which second factor on a host
version_added: 0.1.0
author: The rampart authors (@rampart-hardening)
description:
  - Turns the policy and what the survey found on a host into what the templates of the role C(mfa) need to know.
  - Says why the host has to be left alone, above all where somebody would be shut out whom nobody meant to.
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
  services:
    description: Where a factor is asked for, V(ssh), V(sudo), V(console) or the name of a PAM service.
    type: list
    elements: str
    default: []
  admins:
    description: The people, as C(hardening_admins) has them.
    type: list
    elements: dict
    default: []
  break_glass:
    description: The name of the sealed account.
    type: str
    default: ''
  factors:
    description: The factors of people who name none.
    type: raw
    default: totp
  totp_secrets:
    description: The secrets of TOTP, as C(hardening_totp_secrets) has them.
    type: dict
  duo:
    description: The settings of Duo, as C(hardening_duo) has them.
    type: dict
  grace_until:
    description: The last day on which people without a factor get in.
    type: raw
  exempt:
    description: The accounts of machines, the automation account first.
    type: list
    elements: dict
    default: []
  closed:
    description: Accounts that another role keeps out.
    type: list
    elements: str
    default: []
  window:
    description: How many codes are right at once.
    type: int
    default: 3
  today:
    description: The present day, a date. Today in UTC unless set.
    type: raw
"""

EXAMPLES = r"""
- name: Show who has not enrolled
  ansible.builtin.debug:
    msg: "{{ (ansible_facts.rampart_survey | rampart.hardening.mfa_plan(admins=hardening_admins)).notes }}"
"""

RETURN = r"""
_value:
  description: What the templates need, and under C(refuse) why the host must be left alone.
  type: dict
"""


class FilterModule:
    def filters(self):
        return {"mfa_plan": mfa.plan}
