# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: controls
short_description: Controls in force on a host
version_added: 0.1.0
author: The rampart authors (@rampart-hardening)
description:
  - Returns the ids of the controls that roles of this collection enforce on the current host.
  - They are the controls which the roles declare in C(meta/controls.yml), up to the host's O(hardening_level),
    less those that a valid entry of O(hardening_waivers) excuses on this host.
  - An expired waiver no longer counts. The control is in force again, and a warning says so.
options:
  _terms:
    description: Roles whose controls are wanted. All roles without it.
    type: list
    elements: str
  hardening_level:
    description:
      - V(1) holds for every host without surprise, V(2) is stricter and may cost convenience.
    type: int
    choices: [1, 2]
    default: 1
    vars:
      - name: hardening_level
  hardening_waivers:
    description:
      - Exceptions. Each needs C(control), C(hosts) (hosts or groups of the inventory), C(reason), C(owner) and
        C(until), the last day on which it holds (UTC).
    type: list
    elements: dict
    default: []
    vars:
      - name: hardening_waivers
"""

EXAMPLES = r"""
- name: Show what the ssh role enforces here
  ansible.builtin.debug:
    msg: "{{ lookup('rampart.hardening.controls', 'ssh') }}"

- name: Ask for one control in a template
  ansible.builtin.debug:
    msg: "{{ 'PermitRootLogin no' if 'ssh.root_login' in lookup('rampart.hardening.controls', 'ssh') }}"
"""

RETURN = r"""
_raw:
  description:
    - One element, the list of the ids in force, in the order in which the roles declare them.
    - So C(lookup) returns the list itself.
  type: list
  elements: list
"""

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible.utils.display import Display
from ansible_collections.rampart.hardening.plugins.plugin_utils import policy

display = Display()


class LookupModule(LookupBase):
    def run(self, terms, variables=None, **kwargs):
        variables = variables or {}

        def option(name, default):
            return kwargs[name] if name in kwargs else self._templar.template(variables.get(name, default))

        host = variables.get("inventory_hostname", "localhost")
        groups = variables.get("group_names", [])
        inventory = {host, "all"}.union(variables.get("groups", {}), *variables.get("groups", {}).values())
        try:
            controls = policy.load_controls()
            roles = {control["role"] for control in controls.values()}
            if unknown := sorted(set(terms) - roles):
                raise policy.PolicyError(f"no role of this collection declares controls as {', '.join(unknown)}")
            level = policy.check_level(option("hardening_level", 1))
            waivers = policy.check_waivers(option("hardening_waivers", []), controls, inventory)
        except policy.PolicyError as error:
            raise AnsibleError(str(error)) from error
        for waiver in waivers:
            if waiver["expired"] and policy.covers(waiver, host, groups):
                display.warning(
                    f"The waiver of {waiver['control']} on {', '.join(waiver['hosts'])} (owner {waiver['owner']}) "
                    f"expired on {waiver['until']}: the control is enforced again."
                )
        wanted = set(terms) or roles
        # one term, which is the list: lookup() then gives a list, where it would join strings with commas
        return [
            [
                name
                for name in policy.in_force(controls, level, waivers, host, groups)
                if controls[name]["role"] in wanted
            ]
        ]
