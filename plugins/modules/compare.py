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
options:
  _wanted:
    description: Not for playbooks. What the roles want, as JSON, given by the action plugin. It holds secrets.
    type: str
    required: true
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

import json
import os

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
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
WANTED = dict(
    files=dict(type='list', elements='dict', default=[], options=FILE_SPEC),
    derive=dict(type='list', elements='dict', default=[], options=DERIVE_SPEC),
    active=dict(type='list', elements='list', default=[]),
    sensitive=dict(type='dict', default={}),
    accounts=dict(type='dict', options=dict(accounts.ARGS, controls=CONTROLS)),
    integrity=dict(type='dict', options=dict(integrity.ARGS, controls=CONTROLS)),
)


def look(module):
    """What is to be returned: whether there is nothing to do, and what the files' owners and modes are like."""
    checked = ArgumentSpecValidator(WANTED).validate(json.loads(module.params['_wanted']))
    if checked.error_messages:
        raise TransactionError('; '.join(checked.error_messages))
    params = checked.validated_parameters
    if offline() or os.path.isdir(JOURNAL) and changes(PENDING):
        return dict(settled=False)
    files = [dict(entry, content=params['sensitive'].get(entry['path'], entry['content']))
             for entry in params['files']]
    derived = [entry for spec in params['derive'] for entry in derive(spec, files)]
    if not settled(dict(files=files + derived, active=params['active'])):
        return dict(settled=False)
    if params['accounts'] and not settled(accounts.wishes(module, params['accounts'])):
        return dict(settled=False)
    if not params['integrity']:
        return dict(settled=True)
    found = integrity.walk_host(params['integrity'])
    plan = integrity.make_plan(params['integrity'], found, write=not module.check_mode)
    return dict(settled=settled(plan), integrity=plan['extra_result'])


def main():
    module = AnsibleModule(
        argument_spec=dict(_wanted=dict(type='str', required=True, no_log=True)),
        supports_check_mode=True,
    )
    try:
        module.exit_json(changed=False, **look(module))
    except (TransactionError, integrity.WalkError, OSError) as exc:
        module.fail_json(msg=str(exc))


if __name__ == '__main__':
    main()
