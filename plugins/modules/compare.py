#!/usr/bin/python
# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The action plugin of this name, on the controller, says what to look at; the host looks.

from __future__ import annotations

DOCUMENTATION = r"""
---
module: compare
short_description: Hold what all roles of the play want against the host, in one round trip
version_added: 0.1.0
author: The rampart authors (@rampart-hardening)
description:
  - Where nothing differs, the roles of the play need not ask the host again, and P(rampart.hardening.due#lookup) tells
    them so.
  - Where anything does, or cannot be told, every role compares for itself.
  - Changes nothing. Files of the whole host are looked at only where all else is as it should be.
attributes:
  check_mode:
    description: Can run in check mode, where it does the same, as it only reads.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Compare everything at once
  rampart.hardening.compare:
"""

RETURN = r"""
ansible_facts:
  description: In C(rampart_compared) the roles that have nothing to do in this run.
  returned: where all could be compared
  type: dict
settled:
  description: Whether there is nothing to do.
  returned: where it could be told
  type: bool
integrity:
  description: What M(rampart.hardening.integrity) returns, where its role is in the play and there is nothing to do.
  returned: where the host's files were looked at
  type: dict
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rampart.hardening.plugins.module_utils import accounts, integrity
from ansible_collections.rampart.hardening.plugins.module_utils.transaction import (
    JOURNAL,
    PENDING,
    TRANSACTION_ARGS,
    TransactionError,
    changes,
    offline,
)
from ansible_collections.rampart.hardening.plugins.module_utils.wanted import DERIVE_SPEC, FILE_SPEC, derive, settled

CONTROLS = TRANSACTION_ARGS['controls']


def look(module):
    """What is to be returned: whether there is nothing to do, and what the files' owners and modes are like."""
    params = module.params
    if offline() or os.path.isdir(JOURNAL) and changes(PENDING):
        return dict(settled=False)
    files = [dict(entry, content=params['_sensitive'].get(entry['path'], entry['content']))
             for entry in params['_files']]
    derived = [entry for spec in params['_derive'] for entry in derive(spec, files)]
    if not settled(dict(files=files + derived, active=params['_active'])):
        return dict(settled=False)
    if params['_accounts'] and not settled(accounts.wishes(module, params['_accounts'])):
        return dict(settled=False)
    if not params['_integrity']:
        return dict(settled=True)
    found = integrity.walk_host(params['_integrity'])
    plan = integrity.make_plan(params['_integrity'], found, write=not module.check_mode)
    return dict(settled=settled(plan), integrity=plan['extra_result'])


def main():
    module = AnsibleModule(
        argument_spec=dict(
            _files=dict(type='list', elements='dict', default=[], options=FILE_SPEC),
            _derive=dict(type='list', elements='dict', default=[], options=DERIVE_SPEC),
            _active=dict(type='list', elements='list', default=[]),
            _sensitive=dict(type='dict', default={}, no_log=True),
            _accounts=dict(type='dict', options=dict(accounts.ARGS, controls=CONTROLS)),
            _integrity=dict(type='dict', options=dict(integrity.ARGS, controls=CONTROLS)),
        ),
        supports_check_mode=True,
    )
    try:
        module.exit_json(changed=False, **look(module))
    except (TransactionError, integrity.WalkError, OSError) as exc:
        module.fail_json(msg=str(exc))


if __name__ == '__main__':
    main()
