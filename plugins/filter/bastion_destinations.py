# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible.errors import AnsibleFilterError
from ansible_collections.rampart.hardening.plugins.plugin_utils import bastion, flows

DOCUMENTATION = r"""
name: bastion_destinations
short_description: What a jump server may open connections to
version_added: 0.1.0
author: The rampart authors (@rampart-hardening)
description:
  - The hosts and ports that the flows let a jump server reach, as PermitOpen of sshd_config has them.
  - Each host is listed under its inventory name and all its addresses.
positional: _input, flows, groups, hostvars
options:
  _input:
    description: The inventory name of the jump server.
    type: str
    required: true
  flows:
    description: The flows, as C(hardening_flows) has them.
    type: list
    elements: dict
    required: true
  groups:
    description: Ansible's C(groups).
    type: dict
    required: true
  hostvars:
    description: Ansible's C(hostvars), of which C(hardening_addresses) and C(ansible_host) are read.
    type: dict
    required: true
  controllers:
    description: The addresses and networks that the controller connects from.
    type: list
    elements: str
    default: []
  jump_groups:
    description: The groups of the jump servers. A host that neither they nor the controllers reach is an error.
    type: list
    elements: str
    default: [jump]
"""

EXAMPLES = r"""
- name: Show what people may pass through to
  ansible.builtin.debug:
    msg: "{{ inventory_hostname | rampart.hardening.bastion_destinations(hardening_flows, groups, hostvars) }}"
"""

RETURN = r"""
_value:
  description: Hosts and ports, such as V(db1:3306).
  type: list
  elements: str
"""


def bastion_destinations(host, declared, *args, **kwargs):
    try:
        return bastion.destinations(declared, host, *args, **kwargs)
    except flows.FlowError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    def filters(self):
        return {"bastion_destinations": bastion_destinations}
