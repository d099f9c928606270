# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first task of every role: look at the host once a run, and refuse what would end access to it."""
from __future__ import annotations

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible_collections.rampart.hardening.plugins.plugin_utils import (
    confirmed,
    flows,
    preflight,
    preload,
    ssh,
)

preload.load()


class ActionModule(ActionBase):
    """Needs no round trip where the host was surveyed in this run already."""

    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        task_vars = task_vars or {}
        survey = (task_vars.get('ansible_facts') or {}).get('rampart_survey')
        if not survey or survey.get('run') != confirmed.run_id(task_vars):
            seen = confirmed.survey(self, task_vars)
            if seen.get('unreachable'):
                raise AnsibleConnectionFailure(seen.get('msg', 'unreachable'))
            if seen.get('failed'):
                return dict(result, **seen)
            survey = seen['ansible_facts']['rampart_survey']
            result['ansible_facts'] = {'rampart_survey': survey}
        if not survey['system']['connection']:
            survey = dict(survey, system=dict(survey['system'], connection=self.connection()))
            result['ansible_facts'] = {'rampart_survey': survey}
        try:
            refusals = self.refusals(survey, task_vars)
        except flows.FlowError as exc:
            refusals = [str(exc)]
        if refusals:
            return dict(result, failed=True, refusals=refusals, msg='refused before anything was changed: '
                        + '; '.join(refusals))
        return dict(result, changed=False)

    def variable(self, name, task_vars, default=None):
        """A policy variable, templated."""
        value = task_vars.get(name)
        value = default if value is None else self._templar.template(value)
        return default if value is None else value

    def refusals(self, survey, task_vars):
        """Why this run must not go on."""
        def variable(name, default=None):
            return self.variable(name, task_vars, default)

        policy = dict(
            admins=variable('hardening_admins', []), automation=variable('hardening_automation', {}),
            level=variable('hardening_level', 1), disabled=variable('admin_accounts_disabled', []),
            bootstrap_user=variable('hardening_bootstrap_user', ''), controllers=variable('hardening_controllers', []))
        connection = survey['system']['connection']
        roles = {name.rpartition('.')[2] for name in task_vars.get('ansible_play_role_names', [])}
        client, port = connection.get('client', ''), connection.get('port', 22)
        own = {str(address) for address in survey['system']['addresses']} | {'127.0.0.1', '::1'}
        if client in own:  # a forward that ends on the host itself: no packet of it crosses the network
            client = ''
        permitted = None
        if 'firewall' in roles and client:
            # What a role's variable says counts only where it is in sight: in the inventory, and in the role itself
            rules = flows.from_hostvars(variable('firewall_flows', variable('hardening_flows', [])),
                                        task_vars['inventory_hostname'], task_vars['groups'], task_vars['hostvars'],
                                        variable('firewall_controllers', policy['controllers']))
            permitted = flows.permits(rules['ingress'], client, 'tcp', port)
        declared = policy['automation'].get('from') if isinstance(policy['automation'], dict) else None
        policy['automation_from'] = [] if 'ssh' not in roles else declared or ssh.automation_sources(
            task_vars['inventory_hostname'], task_vars['groups'], task_vars['hostvars'],
            variable('hardening_jump_groups', ['jump']), policy['controllers'])
        return (preflight.system_trouble(survey['system'])
                + preflight.accounts_trouble(policy, self._get_remote_user())
                + preflight.source_trouble(policy, client, port, permitted))

    def connection(self):
        """How the host sees our connection, asked of the login itself: sudo hides it from the survey in a container."""
        if self._connection.transport.rpartition('.')[2] != 'ssh':
            return {'client': '', 'port': 22}
        said = self._low_level_execute_command('echo "$SSH_CONNECTION"', sudoable=False)['stdout'].split()
        if len(said) != 4:
            return {'client': '', 'port': 22}
        return {'client': said[0].partition('%')[0], 'port': int(said[3])}
