# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible.errors import AnsibleFilterError
from ansible_collections.rampart.hardening.plugins.plugin_utils import flows as policy

DOCUMENTATION = r"""
name: compile_flows
short_description: Compile declared flows into the rules of one host
version_added: 0.1.0
author: The rampart authors (@rampart-hardening)
description:
  - Turns C(hardening_flows) into what one host lets in and, where C(hardening_egress) is declared, lets out.
  - Reads the inventory only, never facts, so that the rules are the same whichever hosts a play is limited to.
  - The rules know nothing of the firewall that enforces them.
positional: _input, host, groups, hostvars
options:
  _input:
    description:
      - The flows. Each has C(from) and C(to) (a group, a host, or a list of them), C(port) (a number, a range such
        as V(8000-8100), or a list) and C(proto) (V(tcp), V(udp) or V(icmp)).
      - C(from) is also an address, a network, V(any), or V(controllers), which stands for O(controllers).
    type: list
    elements: dict
    required: true
  host:
    description: The inventory name of the host whose rules are wanted.
    type: str
    required: true
  groups:
    description: Ansible's C(groups).
    type: dict
    required: true
  hostvars:
    description:
      - Ansible's C(hostvars). A host's addresses are its C(hardening_addresses), without them its C(ansible_host),
        without that its name. What is no address is resolved on the controller, in IPv4 and IPv6.
    type: dict
    required: true
  controllers:
    description: The networks from which the controller comes.
    type: list
    elements: str
    default: []
  egress:
    description:
      - The flows that lead out, to networks and V(any) too. Without it there is no egress policy.
      - The flows of O(_input) between hosts may leave the one as they may enter the other.
    type: list
    elements: dict
  listening:
    description: The sockets that listen on the host, as the survey has them, of which C(closes) tells.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Show what the firewall of this host will let in
  ansible.builtin.debug:
    msg: >-
      {{ hardening_flows | rampart.hardening.compile_flows(inventory_hostname, groups, hostvars,
                                                           controllers=hardening_controllers) }}
"""

RETURN = r"""
_value:
  description: The rules, sorted, one for each protocol and set of peers.
  type: dict
  contains:
    ingress:
      description:
        - Rules with C(proto), C(ports) (inclusive ranges, none for icmp), C(peers) (addresses and networks) and
          C(flows) (which declared flows they come from).
      type: list
      elements: dict
    egress:
      description: The same for what leaves the host; V(none) without an egress policy.
      type: list
      elements: dict
    closes:
      description: What listens today and no flow lets anybody reach, as V(3306/tcp mariadbd).
      type: list
      elements: str
"""


def compile_flows(flows, host, groups, hostvars, controllers=(), egress=None, listening=()):
    try:
        rules = policy.from_hostvars(flows, host, groups, hostvars, controllers, egress)
    except policy.FlowError as error:
        raise AnsibleFilterError(str(error)) from error
    return {**rules, "closes": policy.unpermitted(rules["ingress"], listening)}


class FilterModule:
    def filters(self):
        return {"compile_flows": compile_flows}
