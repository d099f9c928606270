# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.rampart.hardening.plugins.plugin_utils import kernel

DOCUMENTATION = r"""
name: kernel_change
short_description: Make a confirmed change of how a host's kernel is set
version_added: 0.1.0
author: The rampart authors (@rampart-hardening)
description:
  - Turns the survey and the variables of the role C(kernel) into the files and commands of one confirmed change.
  - What the host needs (forwarding for containers, namespaces for sandboxes, modules in use) is left, and said.
  - Settings of the site that are stricter are kept; weaker ones are overridden by name.
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
  forwarding:
    description: The role's C(kernel_forwarding).
    type: str
    default: auto
  sysctl:
    description: The role's C(kernel_sysctl).
    type: dict
  denied:
    description: The role's C(kernel_modules_denied).
    type: dict
  allowed:
    description: The role's C(kernel_modules_allowed).
    type: list
    elements: str
    default: []
  mount_options:
    description: The role's C(kernel_mount_options).
    type: dict
  tmpfs:
    description: The role's C(kernel_tmpfs_size).
    type: str
    default: ''
  boot_parameters:
    description: The role's C(kernel_boot_parameters).
    type: list
    elements: str
    default: []
  lockdown:
    description: The role's C(kernel_lockdown).
    type: str
    default: ''
  boot_password:
    description: The role's C(kernel_boot_password).
    type: str
    default: ''
  usb_allowed:
    description: The role's C(kernel_usb_allowed).
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Show what would be overridden or left as it is
  ansible.builtin.debug:
    msg: "{{ (ansible_facts.rampart_survey | rampart.hardening.kernel_change(controls=['kernel.network'])).notes }}"
"""

RETURN = r"""
_value:
  description:
    - C(files), C(derive), C(validate), C(active), C(activate), C(revert), C(refuse) and C(notes), as
      M(rampart.hardening.confirmed_change) takes them in its O(rampart.hardening.confirmed_change#module:plan).
  type: dict
"""


class FilterModule:
    def filters(self):
        return {"kernel_change": kernel.change}
