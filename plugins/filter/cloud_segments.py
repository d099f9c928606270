# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible.errors import AnsibleFilterError
from ansible_collections.rampart.hardening.plugins.plugin_utils import flows, segmentation

DOCUMENTATION = r"""
name: cloud_segments
short_description: Compile declared flows into segments of a cloud
version_added: 0.1.0
author: The rampart authors (@rampart-hardening)
description:
  - Turns C(hardening_flows) into the policy that M(rampart.hardening.aws_segmentation) and
    M(rampart.hardening.azure_segmentation) enforce.
  - An end of a flow that is a group or a host becomes a segment of those of its hosts that are in the cloud. Hosts that
    are elsewhere come in by their addresses, as networks, V(any) and V(controllers) do.
  - Refuses flows that would not let Ansible get to a host any more, directly or through a jump server.
  - Reads the inventory only, never facts, so that the outcome is the same whichever hosts a play is limited to.
positional: _input, groups, hostvars, instance
options:
  _input:
    description: The flows, as P(rampart.hardening.compile_flows#filter) takes them.
    type: list
    elements: dict
    required: true
  groups:
    description: Ansible's C(groups).
    type: dict
    required: true
  hostvars:
    description: Ansible's C(hostvars).
    type: dict
    required: true
  instance:
    description:
      - The variable that says which instance or network interface a host is. Hosts without it are not in this cloud.
      - The inventory plugin C(amazon.aws.aws_ec2) sets C(instance_id), C(azure.azcollection.azure_rm) sets C(id).
    type: str
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
  jump_groups:
    description: The groups of the jump servers.
    type: list
    elements: str
    default: [jump]
"""

EXAMPLES = r"""
- name: Show the segments
  ansible.builtin.debug:
    msg: >-
      {{ hardening_flows | rampart.hardening.cloud_segments(groups, hostvars, 'instance_id',
                                                            controllers=hardening_controllers) }}
"""

RETURN = r"""
_value:
  description: The segments, and the rules between them.
  type: dict
  contains:
    segments:
      description: The hosts of each segment.
      type: dict
    hosts:
      description: The C(instance) of each host, and the C(address) at which a jump server of this cloud has to find it.
      type: dict
    outside:
      description: The networks of hosts that are elsewhere and that flows come from.
      type: dict
    egress:
      description: Whether there is an egress policy.
      type: bool
    rules:
      description:
        - Rules with C(segment), C(direction), C(proto), C(ports) (inclusive ranges, none for icmp), C(kind) (V(segment)
          or V(network)), C(peer) and C(flows) (which declared flows they come from).
      type: list
      elements: dict
"""


def cloud_segments(*args, **kwargs):
    try:
        return segmentation.compile_segments(*args, **kwargs)
    except flows.FlowError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    def filters(self):
        return {"cloud_segments": cloud_segments}
