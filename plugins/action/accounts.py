# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Proves and confirms a change of accounts over a new connection."""
from __future__ import annotations

from ansible_collections.rampart.hardening.plugins.plugin_utils.confirmed import ConfirmedActionBase


class ActionModule(ConfirmedActionBase):
    """Nothing of its own."""
