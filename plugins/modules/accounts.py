#!/usr/bin/python
# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r'''
module: accounts
short_description: Let the named people in and everybody else out, as one transaction
version_added: "0.1.0"
author: The rampart authors (@rampart-hardening)
description:
  - Takes the whole list of who shall be on a host, reads the account databases, keys, crontabs, sudoers and PAM of the
    host, and works out which files have to hold what. These are applied as a confirmed change (see
    M(rampart.hardening.confirmed_change)), so that check mode is exact and undoing puts every byte back.
  - Disables and never removes, unless told to. Homes are never removed.
  - Password hashes never leave the host and show in no diff.
  - Refuses by name, before anything is changed, what would lock people out or what nobody has decided yet.
options:
  controls:
    description: Ids of the controls in force; what none of them asks for is left as it is.
    type: list
    elements: str
    default: []
  admins:
    description: The people who administer the host.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The account's name.
        type: str
        required: true
      ssh_keys:
        description:
          - The public keys that open the account, as lines of C(authorized_keys). Others are taken away; lines of a
            certificate authority stay.
          - Absent means that the account's keys stay as they are.
        type: list
        elements: str
      sudo:
        description: Whether the account may become root, with a password.
        type: bool
        default: true
      state:
        description: V(absent) locks the account out and keeps it; O(removed) also takes it out of the databases.
        type: str
        choices: [present, absent]
        default: present
      password_hash:
        description: Given to an account that has no usable password. One that somebody has set since stays.
        type: str
      shell:
        description: The login shell. C(bash) for new accounts unless set.
        type: str
      uid:
        description: The number for a new account.
        type: int
      comment:
        description: The person's name.
        type: str
      groups:
        description: Further groups of the account. They have to exist.
        type: list
        elements: str
  automation:
    description: The account Ansible itself connects as. It has no password, and sudo asks it for none.
    type: dict
    suboptions:
      name:
        description: The account's name.
        type: str
        required: true
      ssh_keys:
        description: Its public keys. Absent means that its keys stay as they are.
        type: list
        elements: str
      from:
        description: Where it may come from. The SSH server sees to that; this module does not.
        type: list
        elements: str
  break_glass:
    description: One sealed local account with sudo for the day when nothing else works. It cannot log in over SSH.
    type: dict
    suboptions:
      name:
        description: The account's name.
        type: str
        required: true
      password_hash:
        description: The hash of the password in the sealed envelope.
        type: str
        required: true
  alarm:
    description: Argument list run when the sealed account is used, besides the log and a message to all terminals.
    type: list
    elements: str
    default: []
  login_group:
    description: The group of the accounts that may log in over SSH.
    type: str
    default: ssh-login
  logins:
    description: Further accounts that go on logging in over SSH.
    type: list
    elements: str
    default: []
  disabled:
    description: Accounts to disable.
    type: list
    elements: str
    default: []
  leftover:
    description: Names of accounts that are disabled where they could be used and nobody has declared them.
    type: list
    elements: str
    default: []
  removed:
    description: Accounts to disable and take out of the databases.
    type: list
    elements: str
    default: []
  service_shells:
    description: System accounts that keep their shell.
    type: list
    elements: str
    default: []
  sudo_log:
    description: The file in which sudo logs.
    type: str
    default: /var/log/sudo.log
  sudo_timeout:
    description: For how many minutes sudo remembers a password.
    type: int
    default: 5
  first_password:
    description: Whether an administrator who has a key and no password may set the first one.
    type: bool
    default: true
  connection_user:
    description: The account this run is connected as. What sudo says unless set; empty means any.
    type: str
  plan:
    description:
      - Any of the other options in one value.
      - What the task says itself comes first.
    type: dict
extends_documentation_fragment:
  - rampart.hardening.transaction
attributes:
  check_mode:
    description: Can run in check mode and predicts exactly what a run then changes.
    support: full
  diff_mode:
    description: Returns what differs; contents of files with secrets are not shown.
    support: full
'''

EXAMPLES = r'''
- name: Let the people in
  rampart.hardening.accounts:
    controls: [accounts.admins, accounts.automation, accounts.root_locked]
    admins:
      - name: alice
        ssh_keys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ6Lk2cXhTnXkdtmEHBaF0c4Sg9G0bGqLk8x0b8RkzPm alice"]
    automation:
      name: automation
      ssh_keys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOQ2rVqOLmUHfM2pAbcLmWn1LwUDiZCmQbE1X6sJr1Gd automation"]
'''

RETURN = r'''
actions:
  description: What is done to which account, in words.
  returned: always
  type: list
  elements: str
  sample: ["root: password locked", "toor: disabled (a second account with uid 0)"]
adopted:
  description: Accounts that nobody declared, that could log in before, and that go on doing so.
  returned: always
  type: list
  elements: str
notes:
  description: What was left alone or will surprise somebody.
  returned: always
  type: list
  elements: str
change:
  description: The id under which the host's journal holds the change.
  returned: when something was changed
  type: str
state:
  description: How the host was left.
  returned: always
  type: str
files:
  description: What differed, each with C(path) and C(action).
  returned: always
  type: list
  elements: dict
'''

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rampart.hardening.plugins.module_utils.accounts import ARGS, wishes
from ansible_collections.rampart.hardening.plugins.module_utils.transaction import TRANSACTION_ARGS, transact


def main():
    module = AnsibleModule(
        argument_spec=dict(TRANSACTION_ARGS, **ARGS, plan=dict(type='dict')), supports_check_mode=True)
    transact(module, lambda: wishes(module, module.params))


if __name__ == '__main__':
    main()
