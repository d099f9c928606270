# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.rampart.hardening.plugins.plugin_utils import services

DOCUMENTATION = r"""
name: services_plan
short_description: Decide what a host may run and who may use cron there
version_added: 0.1.0
author: The rampart authors (@rampart-hardening)
description:
  - Compares the flows and the allow-list with what the survey found listening and installed on a host.
  - Leaves alone whatever is declared, whatever is in use and whatever a site has set up itself, and says so.
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
  rules:
    description: What may come in, as P(rampart.hardening.compile_flows#filter) returns C(ingress).
    type: list
    elements: dict
    default: []
  allowed:
    description: The allow-list, as C(hardening_services) has it.
    type: list
    elements: dict
    default: []
  names:
    description: The host's name and groups.
    type: list
    elements: str
    default: []
  address:
    description: The name or address by which Ansible reaches the host.
    type: str
    default: ''
  cron_users:
    description: Who may use crontab and at.
    type: list
    elements: str
    default: []
  closed:
    description: Accounts that another role keeps out.
    type: list
    elements: str
    default: []
  sandbox:
    description: For each service the options of its sandbox.
    type: dict
  restart:
    description: The services that may be restarted.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Show what listens and nobody declared
  ansible.builtin.debug:
    msg: "{{ (ansible_facts.rampart_survey | rampart.hardening.services_plan(allowed=hardening_services)).undeclared }}"
"""

RETURN = r"""
_value:
  description: What to do.
  type: dict
  contains:
    change:
      description: The C(plan) of M(rampart.hardening.confirmed_change).
      type: dict
    purge:
      description: Packages of unneeded servers and clients that nothing else depends on.
      type: list
      elements: str
    stays:
      description: Which of them stay, and why.
      type: list
      elements: str
    undeclared:
      description: What listens and nobody declared, as V(8080/tcp python3 (leftover.service)).
      type: list
      elements: str
"""


class FilterModule:
    def filters(self):
        return {"services_plan": services.plan}
