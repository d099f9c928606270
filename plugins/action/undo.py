# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the undo module as a confirmed change."""
from __future__ import annotations

from ansible_collections.rampart.hardening.plugins.plugin_utils.first_contact import BootstrapActionBase


class ActionModule(BootstrapActionBase):
    """Undo may take the automation account away: then the new connection is the bootstrap user's."""
