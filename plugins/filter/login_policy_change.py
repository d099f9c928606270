# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.rampart.hardening.plugins.plugin_utils import login_policy

DOCUMENTATION = r"""
name: login_policy_change
short_description: Make a confirmed change of a host's rules for passwords and sessions
version_added: 0.1.0
author: The rampart authors (@rampart-hardening)
description:
  - Turns the survey and the variables of the role C(login_policy) into the files and commands of one confirmed change.
  - Stricter settings of the site are kept; weaker ones are overridden by file and line.
positional: _input
options:
  _input:
    description: The survey.
    type: dict
    required: true
  controls:
    description: The ids of the controls in force.
    type: list
    elements: str
    default: []
  length:
    description: The least length of a password.
    type: int
    default: 14
  remember:
    description: How many earlier passwords are refused.
    type: int
    default: 24
  deny:
    description: How many failed passwords lock an account.
    type: int
    default: 5
  unlock:
    description: For how many seconds.
    type: int
    default: 900
  longest:
    description: After how many days a password has to be changed.
    type: int
    default: 365
  shortest:
    description: Before how many days it may not.
    type: int
    default: 1
  warn:
    description: How many days before that people are told.
    type: int
    default: 7
  inactive:
    description: How many days after that a new account's password is locked.
    type: int
    default: 45
  exempt:
    description: Accounts whose passwords do not age.
    type: list
    elements: str
    default: []
  umask:
    description: The bits that new files do not get.
    type: str
    default: '027'
  timeout:
    description: After how many idle seconds a shell ends.
    type: int
    default: 900
  banner:
    description: The text before a login.
    type: str
    default: ''
  su_group:
    description: The group whose members may call su.
    type: str
    default: sudo
  home_mode:
    description: The most that the mode of a home may be.
    type: str
    default: '0750'
  shells_allowed:
    description: Accounts of the system that keep their shell.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Show what would be overridden
  ansible.builtin.debug:
    msg: "{{ (ansible_facts.rampart_survey | rampart.hardening.login_policy_change(controls=controls)).notes }}"
  vars:
    controls: "{{ lookup('rampart.hardening.controls', 'login_policy') }}"
"""

RETURN = r"""
_value:
  description:
    - C(files), C(derive), C(active), C(activate), C(revert), C(refuse) and C(notes), as
      M(rampart.hardening.confirmed_change) takes them in its O(rampart.hardening.confirmed_change#module:plan).
  type: dict
"""


class FilterModule:
    def filters(self):
        return {"login_policy_change": login_policy.change}
