# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Proves and confirms a change of accounts over a new connection."""
from __future__ import annotations

from ansible_collections.rampart.hardening.plugins.plugin_utils.confirmed import ConfirmedActionBase


class ActionModule(ConfirmedActionBase):
    """Says who goes on logging in, and what was done."""

    def notes(self, result):
        adopted = result.get('adopted')
        return (result.get('actions') or []) + super().notes(result) + (
            [f'go on logging in over SSH: {", ".join(adopted)}'] if adopted else [])
