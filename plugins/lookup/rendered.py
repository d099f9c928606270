# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: rendered
short_description: What a template of a role becomes
version_added: 0.1.0
author: The rampart authors (@rampart-hardening)
description:
  - Renders a template as P(ansible.builtin.template#lookup) does with its defaults, in a tenth of the time. That one
    copies all variables of the host for every template, the facts among them.
  - Templates that include others, or that ask for C(ansible_managed) and its kin, are not for this lookup.
options:
  _terms:
    description: Names of files in the role's directory C(templates).
    required: true
"""

EXAMPLES = r"""
- name: Show what the server's configuration becomes
  ansible.builtin.debug:
    msg: "{{ lookup('rampart.hardening.rendered', 'sshd.conf.j2') }}"
"""

RETURN = r"""
_raw:
  description: The text of each.
  type: list
  elements: str
"""

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

try:
    from ansible.template import trust_as_template
except ImportError:  # ansible-core before 2.19 trusts every text, and would make data of one that looks like it
    OPTIONS = {"escape_backslashes": False, "overrides": {"trim_blocks": True}, "convert_data": False}

    def trust_as_template(text):
        return text
else:
    OPTIONS = {"escape_backslashes": False, "overrides": {"trim_blocks": True}}


class LookupModule(LookupBase):
    def run(self, terms, variables=None, **kwargs):
        found = []
        for term in terms:
            path = self.find_file_in_search_path(variables, "templates", term)
            if not path:
                raise AnsibleError(f"there is no template {term}")
            with open(path, encoding="utf-8") as handle:
                text = trust_as_template(handle.read())
            found.append(self._templar.template(text, **OPTIONS))
        return found
