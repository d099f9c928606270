# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.rampart.hardening.plugins.plugin_utils import ssh

DOCUMENTATION = r"""
name: ssh_change
short_description: Make a confirmed change of the drop-ins for SSH
version_added: 0.1.0
author: The rampart authors (@rampart-hardening)
description:
  - Holds the rendered drop-ins against the whole configuration that the survey found on the host.
  - Names every setting of the site that they override, and what on the host would override them.
  - A main file that would not read the drop-in first gets one line that includes it.
positional: _input, plan
options:
  _input:
    description: The C(ssh) part of the survey.
    type: dict
    required: true
  plan:
    description: What P(rampart.hardening.ssh_plan#filter) made of it.
    type: dict
    required: true
  server:
    description: The content of the server's drop-in; empty where there is no server.
    type: str
    default: ''
  client:
    description: The content of the client's drop-in; empty where there is to be none.
    type: str
    default: ''
  banner:
    description: The banner file, C(path) and C(text).
    type: dict
  refuse:
    description: Further reasons not to make the change.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Show what the drop-in would override
  ansible.builtin.debug:
    msg: "{{ (ansible_facts.rampart_survey.ssh | rampart.hardening.ssh_change(plan, server=content)).notes }}"
  vars:
    plan: "{{ ansible_facts.rampart_survey.ssh | rampart.hardening.ssh_plan }}"
    content: "{{ lookup('ansible.builtin.template', 'sshd.conf.j2') }}"
"""

RETURN = r"""
_value:
  description:
    - C(files), C(validate), C(active), C(activate), C(refuse) and C(notes) (what is overridden), as
      M(rampart.hardening.confirmed_change) takes them in its O(rampart.hardening.confirmed_change#module:plan).
  type: dict
"""


class FilterModule:
    def filters(self):
        return {"ssh_change": ssh.change}
