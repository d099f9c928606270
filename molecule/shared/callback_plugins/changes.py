# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write down what each converge changes, or in check mode would change, so that the two can be compared."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ansible import context
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: changes
type: notification
short_description: Records the changes of a converge
description:
  - Writes C(predicted.json) or C(done.json) into molecule's ephemeral directory, one entry for each change on a host.
author:
  - The rampart authors
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "changes"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.path = None
        self.changes = {}

    def v2_playbook_on_start(self, playbook):
        if Path(playbook._file_name).name in ("converge.yml", "site.yml"):
            name = "predicted.json" if context.CLIARGS["check"] else "done.json"
            self.path = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], name)

    def v2_runner_on_ok(self, result):
        if not self.path or not result.is_changed():
            return
        host, task = result._host.get_name(), result._task
        files = result._result.get("files")
        if not isinstance(files, list):
            if task.action == "rampart.hardening.first_contact":
                return  # check mode: the account it would create is part of what admin_accounts predicts
            files = [{"task": task.get_name()}]  # a task that names no files counts as a whole
        for what in files:
            # what is created and then changed was created
            self.changes.setdefault((host, what.get("path", ""), what.get("task", "")), {"host": host, **what})

    def v2_playbook_on_stats(self, stats):
        if self.path:
            self.path.write_text(json.dumps([self.changes[key] for key in sorted(self.changes)], indent=1))
