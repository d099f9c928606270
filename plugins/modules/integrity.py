#!/usr/bin/python
# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r'''
module: integrity
short_description: Owners and modes of a whole host, after one walk
version_added: "0.2.0"
author: The rampart authors (@rampart-hardening)
description:
  - Walks once over the local file systems of a host and looks for what anybody may write to, for what belongs to
    nobody, and for programs with rights of their own (set-id bits and capabilities).
  - Network and pseudo file systems, read-only ones, and the layers and volumes of container engines are left out.
  - What the controls ask for is changed in place as a confirmed change (see M(rampart.hardening.confirmed_change)), so
    that check mode is exact and undoing gives every owner and mode back. A mode is never loosened.
  - No link is followed, and what somebody swaps meanwhile is left alone.
options:
  controls:
    description: Ids of the controls in force; what none of them asks for is left as it is.
    type: list
    elements: str
    default: []
  system_files:
    description: Files and directories whose owner and mode are given. Those that do not exist are left out.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The file or directory.
        type: path
        required: true
      owner:
        description: Its owner.
        type: str
        default: root
      group:
        description: The groups that it may have. The first that the host knows is given to it where it has another.
        type: list
        elements: str
        default: [root]
      mode:
        description: The mode that it has at most, as octal digits in quotes.
        type: str
        required: true
  fix_world_writable:
    description: Whether what others may write to loses that right. Otherwise it is reported.
    type: bool
    default: true
  world_writable_allowed:
    description: Shell patterns of paths that anybody may write to. C(*) also matches C(/).
    type: list
    elements: str
    default: []
  unowned_allowed:
    description: Shell patterns of paths whose owner or group needs no name.
    type: list
    elements: str
    default: []
  setuid_allowed:
    description: Shell patterns of programs that may have rights of their own.
    type: list
    elements: str
    default: []
  setuid_known:
    description: >-
      What packages of the distribution bring, by path. Octal digits in quotes for set-id bits, a list of names for
      capabilities.
    type: dict
    default: {}
  setuid_strip:
    description: Whether programs with set-id bits that are neither known nor allowed lose them.
    type: bool
    default: false
  setuid_removed:
    description: Programs that lose their set-id bits for good, by way of dpkg's own list of overrides.
    type: list
    elements: path
    default: []
  skip:
    description: Further directories not to walk.
    type: list
    elements: path
    default: []
  time_limit:
    description: Seconds after which the walk is ended and the task fails.
    type: int
    default: 600
  report:
    description: How many names of a kind the result has at most. The numbers are of all.
    type: int
    default: 100
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
    description: Returns owners and modes that differ.
    support: full
'''

EXAMPLES = r'''
- name: Bring owners and modes in order
  rampart.hardening.integrity:
    controls: [integrity.system_files, integrity.world_writable, integrity.sticky_bit]
    system_files:
      - {path: /etc/shadow, group: [shadow, root], mode: "0640"}
    world_writable_allowed: ["/srv/exchange/*"]
'''

RETURN = r'''
summary:
  description: Numbers of what was walked and found, how long that took, and since when programs are kept in mind.
  returned: always
  type: dict
world_writable:
  description: Files that anybody may write to.
  returned: always
  type: list
  elements: str
not_sticky:
  description: Directories in which anybody may remove everybody's files.
  returned: always
  type: list
  elements: str
unowned:
  description: What belongs to no user or to no group.
  returned: always
  type: list
  elements: str
unreadable:
  description: Directories that could not be looked into.
  returned: always
  type: list
  elements: str
setuid_unknown:
  description: Programs with rights of their own that are neither known nor allowed.
  returned: always
  type: list
  elements: dict
setuid_new:
  description: Programs with rights of their own that were not there when the host was looked at first.
  returned: always
  type: list
  elements: str
notes:
  description: What was left alone.
  returned: always
  type: list
  elements: str
vanished:
  description: How many files were gone or another's by the time they were to be changed.
  returned: when there were any
  type: int
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
from ansible_collections.rampart.hardening.plugins.module_utils.integrity import ARGS, WalkError, make_plan, walk_host
from ansible_collections.rampart.hardening.plugins.module_utils.transaction import TRANSACTION_ARGS, transact


def main():
    module = AnsibleModule(
        argument_spec=dict(TRANSACTION_ARGS, **ARGS, plan=dict(type='dict')), supports_check_mode=True)
    try:
        found = walk_host(module.params)  # not under the lock, which others wait for
    except WalkError as exc:
        module.fail_json(msg=str(exc), state='failed', files=[])
    transact(module, lambda: make_plan(module.params, found, write=not module.check_mode))


if __name__ == '__main__':
    main()
