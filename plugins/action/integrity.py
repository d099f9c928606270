# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Proves and confirms a change of owners and modes over a new connection, and says what people should look at."""
from __future__ import annotations

from ansible_collections.rampart.hardening.plugins.plugin_utils.confirmed import ConfirmedActionBase

NAMED = 5


def warnings(result, controls):
    """What people should look at of a `result` of the module, in words."""
    summary, found = result.get('summary') or {}, []
    for control, number, names, what in (
            ('integrity.setuid', summary.get('setuid_unknown', 0),
             [f'{one["path"]} ({one["rights"]}, {one["why"]}, seen since {one["since"]})'
              for one in result.get('setuid_unknown') or []],
             'programs with rights of their own are neither known nor in integrity_setuid_allowed'),
            ('integrity.unowned', summary.get('unowned', 0), result.get('unowned') or [],
             'files and directories belong to no user or no group')):
        if number and control in controls:
            more = ', …' if number > NAMED else ''
            found.append(f'{number} {what}: {", ".join(names[:NAMED])}{more}')
    return found


class ActionModule(ConfirmedActionBase):
    """What is only reported shows as a warning in every run, until it is dealt with or allowed."""

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        for warning in warnings(result, self._task.args.get('controls') or []):
            self._display.warning(f'{self._task_host(task_vars or {})}: {warning}')
        return result
