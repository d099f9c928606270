# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run confirmed_change, keeping the contents of sensitive files out of every log."""
from __future__ import annotations

from ansible_collections.rampart.hardening.plugins.plugin_utils.confirmed import ConfirmedActionBase


class ActionModule(ConfirmedActionBase):
    """Moves sensitive contents into an argument that Ansible never shows."""

    def arguments(self, args, task_vars):
        args = super().arguments(args, task_vars)
        files, secret = [], {}
        for entry in args.get('files') or []:
            entry = dict(entry)
            if entry.get('sensitive') and entry.get('content') is not None:
                secret[entry['path']] = entry.pop('content')
            files.append(entry)
        return dict(args, files=files, _sensitive=secret)
