#!/usr/bin/python
# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r'''
module: journal
short_description: List the confirmed changes that a host remembers, or settle one
version_added: "0.1.0"
author: The rampart authors (@rampart-hardening)
description:
  - Reads the host's journal under C(/var/lib/rampart/changes).
  - With O(confirm) it proves and confirms a change that is armed, with O(abandon) it takes it back at once; the action
    plugin of M(rampart.hardening.confirmed_change) does this over a new connection.
options:
  change:
    description: Tell only of the change of this id.
    type: str
  confirm:
    description: Run the proof of the change of this id and confirm it. A proof that fails takes it back.
    type: str
  abandon:
    description: Take back the change of this id where it waits for its confirmation, or see to it that it never begins.
    type: str
attributes:
  check_mode:
    description: Can run in check mode; listing changes nothing, confirming and abandoning are refused.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
'''

EXAMPLES = r'''
- name: List what was changed on this host
  rampart.hardening.journal:
  register: journal
'''

RETURN = r'''
changes:
  description:
    - The entries, oldest first, each with id, state, kind, role, run, who, when, controls, undoes, notes and files.
  returned: without O(change), O(confirm) and O(abandon)
  type: list
  elements: dict
listing:
  description: The same, a line for each, for people.
  returned: without O(change), O(confirm) and O(abandon)
  type: list
  elements: str
entry:
  description: The one entry asked for; its state is C(absent) where the host does not know it.
  returned: with O(change), O(confirm) or O(abandon)
  type: dict
'''

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rampart.hardening.plugins.module_utils.transaction import (
    Change,
    TransactionError,
    abandon,
    changes,
    confirm_change,
)


def entry_of(change_id):
    """The summary of one entry, with how it was taken back where it was."""
    try:
        change = Change.load(change_id)
    except TransactionError:
        return dict(id=change_id, state='absent')
    return dict(change.summary(), reverted=change.meta.get('reverted'))


def line(entry):
    """One entry for people."""
    files = ' '.join(file['path'] for file in entry['files']) or '(activation only)'
    what = entry['role'] or entry['kind']
    return f'{entry["id"]}  {entry["state"]:9}  {what}  run {entry["run"]}  {entry["who"]}  {files}'


def main():
    module = AnsibleModule(
        argument_spec=dict(change=dict(type='str'), confirm=dict(type='str'), abandon=dict(type='str')),
        mutually_exclusive=[('change', 'confirm', 'abandon')],
        supports_check_mode=True,
    )
    for name, settle in (('confirm', confirm_change), ('abandon', abandon)):
        change = module.params[name]
        if not change:
            continue
        if module.check_mode:
            module.fail_json(msg='a change cannot be settled in check mode')
        try:
            settle(change)
        except (TransactionError, OSError) as exc:
            module.fail_json(msg=str(exc), entry=entry_of(change))
        module.exit_json(changed=False, entry=entry_of(change))
    if module.params['change']:
        module.exit_json(changed=False, entry=entry_of(module.params['change']))
    found = [entry.summary() for entry in changes()]
    module.exit_json(changed=False, changes=found, listing=[line(entry) for entry in found])


if __name__ == '__main__':
    main()
