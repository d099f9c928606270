#!/usr/bin/python
# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r'''
module: undo
short_description: Put back, byte for byte, what confirmed changes replaced
version_added: "0.1.0"
author: The rampart authors (@rampart-hardening)
description:
  - Walks the host's journal backwards and restores every file of the chosen changes with owner, mode and attributes,
    in one transaction of its own that must be confirmed like any other.
  - Refuses by name where a file was edited since, or where the directory of one that would come back is gone.
  - A directory that has since been filled (a home, say) is kept in the journal, not deleted.
options:
  what:
    description: C(all), C(run:ID), C(role:NAME) or C(change:ID).
    type: str
    required: true
  force:
    description: >-
      Put the old content back even where a file was edited since, and leave out, with a warning, what has no place any
      more as its directory is gone.
    type: bool
    default: false
extends_documentation_fragment:
  - rampart.hardening.transaction
attributes:
  check_mode:
    description: Can run in check mode and shows what would come back.
    support: full
  diff_mode:
    description: Returns what differs; contents of sensitive files are not shown.
    support: full
'''

EXAMPLES = r'''
- name: Take back what the ssh role changed
  rampart.hardening.undo:
    what: role:ssh
'''

RETURN = r'''
undone:
  description: Ids of the changes that are taken back.
  returned: always
  type: list
  elements: str
known:
  description: Whether this host's journal knows of what was asked for, taken back already or not.
  returned: always
  type: bool
files:
  description: What comes back, each with C(path) and C(action).
  returned: always
  type: list
  elements: dict
'''

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rampart.hardening.plugins.module_utils.transaction import (
    TRANSACTION_ARGS,
    plan_undo,
    transact,
)


def main():
    module = AnsibleModule(
        argument_spec=dict(
            TRANSACTION_ARGS, what=dict(type='str', required=True), force=dict(type='bool', default=False)),
        supports_check_mode=True,
    )

    transact(module, lambda: plan_undo(module.params['what'], module.params['force']))


if __name__ == '__main__':
    main()
