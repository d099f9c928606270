# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a role wants of a host, and whether it is so already."""
from __future__ import annotations

import os
import shutil
import tempfile

from ansible_collections.rampart.hardening.plugins.module_utils.transaction import (
    TransactionError,
    compare,
    describe,
    read_file,
    run,
)

FILE_SPEC = dict(
    path=dict(type='str', required=True),
    content=dict(type='str'),
    generate=dict(type='list', elements='str'),
    target=dict(type='str'),
    state=dict(type='str', choices=['file', 'absent', 'directory', 'link'], default='file'),
    owner=dict(type='str', default='root'),
    group=dict(type='str', default='root'),
    mode=dict(type='str'),
    sensitive=dict(type='bool', default=False),
    seen=dict(type='str'),
    ignore=dict(type='str'),
    validate=dict(type='list', elements='raw', default=[]),
)
DERIVE_SPEC = dict(
    inputs=dict(type='list', elements='str', required=True),
    command=dict(type='list', elements='str', required=True),
    outputs=dict(type='list', elements='str', required=True),
    holds=dict(type='list', elements='str', required=True),
)


def derive(spec, files):
    """The files that the program of `spec` makes, given that `files` are as they should be; none if it need not run."""
    def at(root, argv):
        return [part.replace('%s', root) for part in argv]

    below = tuple(directory + '/' for directory in spec['inputs'])
    given = [entry for entry in files if entry['path'].startswith(below)]
    if not compare(given) and run(at('', spec['holds']))[0] == 0:
        return []
    root = tempfile.mkdtemp(prefix='rampart-')
    try:
        for directory in spec['inputs']:
            if os.path.isdir(directory):
                shutil.copytree(directory, root + directory, symlinks=True)
        for entry in given:
            path = root + entry['path']
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if entry['state'] == 'file':
                with open(path, 'w', encoding='utf-8') as handle:
                    handle.write(entry['content'])
            elif os.path.lexists(path):
                os.unlink(path)
        rc, said = run(at(root, spec['command']))
        held, reason = run(at(root, spec['holds']))
        if rc != 0 or held != 0:
            raise TransactionError(f'`{" ".join(at("", spec["command"]))}` (returned {rc}) would not do what it '
                                   f'should: {said or reason or "(no output)"}; nothing on this host was changed')
        made = []
        for path in spec['outputs']:
            now = describe(path)
            kept = dict(mode=f'{now["mode"]:04o}', owner=now['uid'], group=now['gid']) if now['kind'] == 'file' else {}
            made.append(dict(kept, path=path, content=read_file(root + path)))
        return made
    finally:
        shutil.rmtree(root)


def settled(plan):
    """Whether there is nothing to do for `plan`, as :func:`transaction.transact` takes it."""
    entries = plan['entries'] if 'entries' in plan else compare(plan['files'])
    return not plan.get('refuse') and not entries and all(run(argv)[0] == 0 for argv in plan.get('active', []))
