#!/usr/bin/python
# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r'''
module: confirmed_change
short_description: Apply files and commands as one transaction that reverts itself unless confirmed
version_added: "0.1.0"
author: The rampart authors (@rampart-hardening)
description:
  - Compares the listed files with the host. Where nothing differs, nothing is written.
  - Otherwise validates the staged files, journals the originals under C(/var/lib/rampart/changes), arms a timed revert
    on the host (a systemd timer; a detached process where there is no systemd), writes every file atomically,
    activates, and then confirms over a new connection. A host that cannot be reached any more takes the change back
    by itself, and so does one that restarts before the confirmation.
  - A failing step takes everything back at once and the task fails with the command's own words.
  - In an image build (a chroot, or no init running) files are written and validated; commands wait for the first boot.
options:
  files:
    description:
      - The files, links and directories as they should be, in the order in which they are written. What should be
        absent goes last.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path. A link at this path is replaced, not followed.
        type: str
        required: true
      content:
        description: The whole content of the file.
        type: str
      generate:
        description:
          - Argument list of a command that makes the file where it is missing; C(%s) is the path to write to.
          - An existing file keeps its content.
        type: list
        elements: str
      target:
        description: What a link points to.
        type: str
      state:
        description: What should be at the path.
        type: str
        choices: [file, absent, directory, link]
        default: file
      owner:
        description: User name or number.
        type: str
        default: root
      group:
        description: Group name or number.
        type: str
        default: root
      mode:
        description: Permission bits as octal digits in quotes; default C(0644), C(0755) for directories.
        type: str
      sensitive:
        description: Show no content in diff, log or report.
        type: bool
        default: false
      seen:
        description:
          - What the survey saw of the file, as its C(stamp). Nothing is changed where it was edited since.
        type: str
      ignore:
        description:
          - Regular expression (lines apart) of what in the file does not count, as a program keeps its own notes there.
          - A file that differs in nothing else keeps its content, and undoing it is no loss.
        type: str
      validate:
        description: Argument list, or list of them, run on the staged copy (C(%s)) before anything is changed.
        type: list
        elements: raw
        default: []
  derive:
    description:
      - Files that a program of the system makes from others. It is run on a copy of them, in which the O(files) are as
        they should be, and what it makes there becomes a part of this change.
      - It is run where one of the O(files) in its O(derive[].inputs) differs, or O(derive[].holds) fails.
    type: list
    elements: dict
    default: []
    suboptions:
      inputs:
        description: Directories that are copied.
        type: list
        elements: str
        required: true
      command:
        description: Argument list; C(%s) is the directory that stands for C(/).
        type: list
        elements: str
        required: true
      outputs:
        description: Paths of the files that the program makes, in the order in which they are written.
        type: list
        elements: str
        required: true
      holds:
        description:
          - Argument list that succeeds where the program did what it should; C(%s) is as above, empty for the host.
        type: list
        elements: str
        required: true
  validate:
    description: Argument lists run when all files are in place, before activation; a failure takes the change back.
    type: list
    elements: list
    default: []
  active:
    description:
      - Argument lists that all succeed when what is live is what the files say.
      - One that fails makes activation due though no file differs.
    type: list
    elements: list
    default: []
  activate:
    description: Argument lists run in order once the files are in place.
    type: list
    elements: list
    default: []
  revert:
    description: Argument lists run on the way back, once the old files are in place. Defaults to O(activate).
    type: list
    elements: list
  plan:
    description:
      - Any of the other options in one value, as P(rampart.hardening.ssh_change#filter) makes it.
      - What the task says itself comes first.
    type: dict
  refuse:
    description: Why this change must not be made. With any, the task fails and the host is not touched.
    type: list
    elements: str
    default: []
  notes:
    description: What people should know of the change. It is shown where something differs, and journalled.
    type: list
    elements: str
    default: []
  _sensitive:
    description: Not for playbooks. The contents of sensitive files, given by the action plugin.
    type: dict
    default: {}
extends_documentation_fragment:
  - rampart.hardening.transaction
attributes:
  check_mode:
    description: Can run in check mode and predicts exactly what a run then changes.
    support: full
  diff_mode:
    description: Returns what differs; contents of sensitive files are not shown.
    support: full
'''

EXAMPLES = r'''
- name: Configure the SSH server
  rampart.hardening.confirmed_change:
    controls: [ssh.root_login]
    files:
      - path: /etc/ssh/sshd_config.d/00-rampart.conf
        content: "PermitRootLogin no\n"
        mode: "0600"
        validate: [sshd, -t, -f, "%s"]
    validate:
      - [sshd, -t]
    activate:
      - [systemctl, reload, ssh.service]
'''

RETURN = r'''
change:
  description: The id under which the host's journal holds the change.
  returned: when something was changed
  type: str
  sample: 20261124T101500-a1b2c3
state:
  description: How the host was left.
  returned: always
  type: str
  sample: confirmed
files:
  description: What differed, each with C(path) and C(action), one of create, change, mode, remove.
  returned: always
  type: list
  elements: dict
notes:
  description: O(notes).
  returned: always
  type: list
  elements: str
inactive:
  description: The O(active) commands that failed before the change.
  returned: when something differs
  type: list
  elements: str
'''

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rampart.hardening.plugins.module_utils.transaction import TRANSACTION_ARGS, transact
from ansible_collections.rampart.hardening.plugins.module_utils.wanted import DERIVE_SPEC, FILE_SPEC, derive


def main():
    module = AnsibleModule(
        argument_spec=dict(
            TRANSACTION_ARGS,
            files=dict(type='list', elements='dict', default=[], options=FILE_SPEC),
            derive=dict(type='list', elements='dict', default=[], options=DERIVE_SPEC),
            validate=dict(type='list', elements='list', default=[]),
            active=dict(type='list', elements='list', default=[]),
            activate=dict(type='list', elements='list', default=[]),
            revert=dict(type='list', elements='list'),
            plan=dict(type='dict'),
            refuse=dict(type='list', elements='str', default=[]),
            notes=dict(type='list', elements='str', default=[]),
            _sensitive=dict(type='dict', default={}, no_log=True),
        ),
        supports_check_mode=True,
    )
    params = module.params
    secret = params['_sensitive']

    files = [dict(entry, content=secret.get(entry['path'], entry['content'])) for entry in params['files']]
    wishes = {key: params[key] for key in ('validate', 'active', 'activate', 'revert', 'refuse')}

    def wanted():
        derived = [entry for spec in params['derive'] for entry in derive(spec, files)]
        gone = [entry for entry in files if entry['state'] == 'absent']
        stays = [entry for entry in files if entry['state'] != 'absent']
        return dict(wishes, files=stays + derived + gone, extra_result=dict(notes=params['notes']))

    transact(module, wanted)


if __name__ == '__main__':
    main()
