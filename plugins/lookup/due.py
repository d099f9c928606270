# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: due
short_description: Whether a role has anything to do on this host
version_added: 0.1.0
author: The rampart authors (@rampart-hardening)
description:
  - False where M(rampart.hardening.compare) found in this same run that what the role wants is there already, and
    nothing was changed since. True otherwise, so that a role by itself does its own comparing.
options:
  _terms:
    description: The name of a role.
    required: true
"""

EXAMPLES = r"""
- name: Apply the SSH configuration
  rampart.hardening.confirmed_change:
    plan: "{{ __ssh_change }}"
  when: lookup('rampart.hardening.due', 'ssh')
"""

RETURN = r"""
_raw:
  description: Whether there is.
  type: list
  elements: bool
"""

from ansible.plugins.lookup import LookupBase
from ansible_collections.rampart.hardening.plugins.plugin_utils.confirmed import run_id


class LookupModule(LookupBase):
    def run(self, terms, variables=None, **kwargs):
        found = ((variables or {}).get("ansible_facts") or {}).get("rampart_compared") or {}
        settled = found.get("roles", []) if found.get("run") == run_id(variables) else []
        return [term not in settled for term in terms]
