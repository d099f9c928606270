# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    """What every module takes that ends in a confirmed change: TRANSACTION_ARGS of module_utils.transaction."""

    DOCUMENTATION = r'''
options:
  role:
    description: The name under which the journal lists the change. Defaults to the role that runs the task.
    type: str
    default: ''
  controls:
    description: Ids of the controls that the change enforces, for the journal.
    type: list
    elements: str
    default: []
  confirm:
    description: Whether the change must be confirmed over a new connection, or counts as soon as it is active.
    type: str
    choices: [connection, none]
    default: connection
  confirm_timeout:
    description: Seconds from arming to the revert. Defaults to C(hardening_confirm_timeout) where that is set.
    type: int
    default: 60
  prove:
    description: Argument lists run over the new connection; a failure takes the change back.
    type: list
    elements: list
    default: []
  keep:
    description: How many changes the host's journal keeps. Defaults to C(hardening_journal_keep) where that is set.
    type: int
    default: 200
  keep_days:
    description: How many days the journal keeps a change. Defaults to C(hardening_journal_days) where that is set.
    type: int
    default: 365
  _change:
    description: Not for playbooks. The id of the change, given by the action plugin.
    type: str
  _run:
    description: Not for playbooks. The id of the run, given by the action plugin.
    type: str
    default: ''
  _who:
    description: Not for playbooks. Who runs it, given by the action plugin.
    type: str
    default: ''
'''
