# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible.errors import AnsibleFilterError
from ansible_collections.rampart.hardening.plugins.plugin_utils import flows, ssh

DOCUMENTATION = r"""
name: automation_sources
short_description: From where the automation account comes to a host
version_added: 0.1.0
author: The rampart authors (@rampart-hardening)
description:
  - The addresses of the controllers and, for a host behind a jump server, those of the jump servers.
positional: _input, groups, hostvars
options:
  _input:
    description: The inventory name of the host.
    type: str
    required: true
  groups:
    description: Ansible's C(groups).
    type: dict
    required: true
  hostvars:
    description: Ansible's C(hostvars), of which C(hardening_addresses) or else C(ansible_host) are read.
    type: dict
    required: true
  jump_groups:
    description: The groups of the jump servers.
    type: list
    elements: str
    default: [jump]
  controllers:
    description: The addresses and networks that the controller connects from.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Show from where the automation account may come
  ansible.builtin.debug:
    msg: "{{ inventory_hostname | rampart.hardening.automation_sources(groups, hostvars, controllers=['192.0.2.4']) }}"
"""

RETURN = r"""
_value:
  description: Addresses and networks.
  type: list
  elements: str
"""


def automation_sources(*args, **kwargs):
    try:
        return ssh.automation_sources(*args, **kwargs)
    except flows.FlowError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    def filters(self):
        return {"automation_sources": automation_sources}
