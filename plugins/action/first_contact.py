# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first task on a host: reach it, and on the very first run hand it over to the automation account."""
from __future__ import annotations

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible_collections.rampart.hardening.plugins.plugin_utils import preload
from ansible_collections.rampart.hardening.plugins.plugin_utils.confirmed import survey
from ansible_collections.rampart.hardening.plugins.plugin_utils.first_contact import BootstrapActionBase, refused

preload.load()


class ActionModule(BootstrapActionBase):
    """Surveys the host as the automation account; where that is refused, creates it as the bootstrap user first."""

    module = 'rampart.hardening.accounts'
    before: dict | None = None  # the automation account's login

    def run(self, tmp=None, task_vars=None):
        task_vars = task_vars or {}
        result = ActionBase.run(self, tmp, task_vars)
        try:
            return dict(result, **survey(self, task_vars))
        except AnsibleConnectionFailure as exc:
            if not refused(exc) or not self.can_bootstrap(task_vars):
                raise
            trouble = exc
        automation = self.policy('hardening_automation', task_vars)
        if not (automation or {}).get('ssh_keys'):
            return dict(result, failed=True, msg=(
                f'{self._get_remote_user()} cannot log in, and hardening_automation does not say which account with '
                'which ssh_keys to create. Add to the inventory: hardening_automation: {name: …, ssh_keys: […]}'))
        before = self.options()
        facts = self.use_bootstrap(task_vars)
        try:
            surveyed = survey(self, task_vars)
        except AnsibleConnectionFailure as exc:
            raise AnsibleConnectionFailure(
                f'neither {before["remote_user"]} ({trouble}) nor the bootstrap user {facts["ansible_user"]} '
                f'can log in: {exc}') from exc
        if surveyed.get('failed'):
            return dict(result, **surveyed)
        if self._task.check_mode:
            # Nothing is created, so the rest of the play goes on as the bootstrap user. Ansible takes no connection
            # variables from a task's facts: site sets them.
            surveyed['ansible_facts'].update(rampart_bootstrap=facts)
            return dict(result, **dict(surveyed, changed=True, msg=f'would create the account {automation["name"]}'))
        if not surveyed['ansible_facts']['rampart_survey']['accounts']['sudo']:
            installed = self._execute_module(module_name='ansible.builtin.apt', task_vars=task_vars, module_args={
                'name': 'sudo', 'update_cache': True, 'install_recommends': False})
            if installed.get('failed'):
                return dict(result, failed=True, msg='the automation account needs sudo, which is missing and could '
                            f'not be installed: {installed.get("msg")}')
        made = self.hand_over(automation, before, task_vars)
        if made.get('failed'):
            return dict(result, **made)
        return dict(result, **dict(made, ansible_facts=surveyed['ansible_facts']))

    def hand_over(self, automation, before, task_vars):
        """Create the automation account as a confirmed change whose proof is that account's own login."""
        self.before = before
        args = self.arguments({'role': 'first_contact', 'automation': automation, 'controls': ['accounts.automation'],
                               'admins': [], 'prove': [['true']]}, task_vars)
        return self.transact(args, task_vars)

    def reconnect(self, task_vars):
        """The proof of the first contact: the automation account logs in and becomes root."""
        if self.before:
            self.use_automation(self.before)
        self._connection.reset()

    def aftermath(self, change, trouble, deadline, task_vars):
        """Where the new account could not log in, ask the bootstrap user how the host was left."""
        self.before = None
        self.use_bootstrap(task_vars)
        return super().aftermath(change, trouble, deadline, task_vars)
