# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.rampart.hardening.plugins.plugin_utils import mfa

DOCUMENTATION = r"""
name: mfa_change
short_description: Make a confirmed change of second factors
version_added: 0.1.0
author: The rampart authors (@rampart-hardening)
description:
  - Puts together the files of PAM, sshd and the factors, the commands that check and activate them, and the proof that
    an enrolled person still gets in.
positional: _input, plan
options:
  _input:
    description: The whole survey.
    type: dict
    required: true
  plan:
    description: What P(rampart.hardening.mfa_plan#filter) made of it.
    type: dict
    required: true
  sshd:
    description: The content of the drop-in for sshd; empty where SSH asks for no factor.
    type: str
    default: ''
  pam:
    description: The content of the PAM file that common-auth includes.
    type: str
    default: ''
  profile:
    description: The profile for pam-auth-update.
    type: str
    default: ''
  program:
    description: The program that PAM asks.
    type: str
    default: ''
  duo:
    description: The configuration of pam_duo.
    type: str
    default: ''
  proof:
    description: The program, in Python, that tries the services before the change is confirmed.
    type: str
    default: ''
  attempts:
    description: How often codes may be tried in O(seconds).
    type: int
    default: 6
  seconds:
    description: The time in which O(attempts) are counted.
    type: int
    default: 180
  window:
    description: How many codes are right at once.
    type: int
    default: 3
"""

EXAMPLES = r"""
- name: Show what would be changed
  ansible.builtin.debug:
    msg: "{{ (ansible_facts.rampart_survey | rampart.hardening.mfa_change(plan)).files | map(attribute='path') }}"
  vars:
    plan: "{{ ansible_facts.rampart_survey | rampart.hardening.mfa_plan(services=[]) }}"
"""

RETURN = r"""
_value:
  description:
    - C(files), C(derive), C(validate), C(active), C(activate), C(prove), C(refuse) and C(notes), as
      M(rampart.hardening.confirmed_change) takes them in its O(rampart.hardening.confirmed_change#module:plan).
  type: dict
"""


class FilterModule:
    def filters(self):
        return {"mfa_change": mfa.change}
