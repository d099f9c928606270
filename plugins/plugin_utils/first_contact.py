# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reach a host as the automation account, or, where it is not known there yet, as the bootstrap user."""
from __future__ import annotations

import contextlib
import shlex
import subprocess

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible_collections.rampart.hardening.plugins.plugin_utils.confirmed import ConfirmedActionBase

# What ssh says when the other side answered and did not let us in, as opposed to not answering at all
REFUSED = ('Permission denied', 'Too many authentication failures', 'Invalid/incorrect username/password',
           'Invalid/incorrect password', 'This account is', 'Connection closed by')


def refused(text):
    """Whether `text`, an error of the connection, means that the login was refused."""
    return any(words in str(text) for words in REFUSED)


class BootstrapActionBase(ConfirmedActionBase):
    """An action that falls back to `hardening_bootstrap_user` where the automation account is refused."""

    bootstrapped = False

    def policy(self, name, task_vars, default=None):
        """The shared policy variable `name`, templated."""
        value = task_vars.get(name)
        return default if value is None else self._templar.template(value)

    def can_bootstrap(self, task_vars):
        """Whether the policy names a way in for the first contact, other than the one just tried."""
        user = self.policy('hardening_bootstrap_user', task_vars)
        return bool(user) and user != self._get_remote_user()

    def jump_arguments(self, task_vars):
        """The user's ssh arguments; a jump server still at its own first contact is passed as bootstrap user.

        That is the case in check mode only: otherwise the jump servers come first. It takes the bootstrap user's key,
        as nobody can answer a second password prompt.
        """
        given = self._connection.get_option('ssh_common_args') or ''
        pristine = any(task_vars['hostvars'][host].get('ansible_facts', {}).get('rampart_bootstrap')
                       for group in self.policy('hardening_jump_groups', task_vars, ['jump'])
                       for host in task_vars['groups'].get(group, []))
        jump = self.jump_of(given) if pristine else ''
        if not jump:
            return given
        key = self.policy('hardening_bootstrap_private_key_file', task_vars)
        command = ['ssh', *shlex.split(given), '-l', self.policy('hardening_bootstrap_user', task_vars),
                   *(['-i', key] if key else []), '-o', 'ControlPath=none', '-o', 'BatchMode=yes',
                   '-W', '[%h]:%p', f'ssh://{jump}']
        return f'-o {shlex.quote("ProxyCommand=" + shlex.join(command))} {given}'

    def jump_of(self, arguments):
        """The jump server that ssh passes with these `arguments`, user left out; empty unless there is just one."""
        answer = subprocess.run(['ssh', '-G', *shlex.split(arguments), self._connection.get_option('host')],
                                capture_output=True, text=True, check=False, timeout=10)
        found = [line.partition(' ')[2] for line in answer.stdout.splitlines() if line.startswith('proxyjump ')]
        return found[0].rpartition('@')[2] if found and ',' not in found[0] and found[0] != 'none' else ''

    def use_bootstrap(self, task_vars):
        """Turn this task's connection into the bootstrap user's; returns it as variables, the password left out."""
        facts = {'ansible_user': self.policy('hardening_bootstrap_user', task_vars)}
        key = self.policy('hardening_bootstrap_private_key_file', task_vars)
        if key:
            facts['ansible_ssh_private_key_file'] = key
        arguments = self.jump_arguments(task_vars)
        if arguments != (self._connection.get_option('ssh_common_args') or ''):
            facts['ansible_ssh_common_args'] = arguments
        self._connection._shell.tmpdir = None
        self._connection.set_option('remote_user', facts['ansible_user'])
        self._connection.user = self._play_context.remote_user = facts['ansible_user']
        if key:
            self._connection.set_option('private_key_file', key)
        self._connection.set_option('ssh_common_args', arguments)
        self._connection.set_option('password', self.policy('hardening_bootstrap_password', task_vars))
        self._connection.control_path = None
        if facts['ansible_user'] == 'root':
            self._connection.set_become_plugin(None)  # it would wait for an escalation that need not happen
        self._connection.reset()  # a connection of this user may persist from an earlier run, through a dead jump
        self.bootstrapped = True
        return facts

    def use_automation(self, before):
        """Turn the connection back into what it was before :meth:`use_bootstrap`."""
        with contextlib.suppress(AnsibleConnectionFailure):
            self.cleanup()
        self._connection._shell.tmpdir = None  # without pipelining, a directory that only the other account may enter
        self._connection.reset()
        before = dict(before)
        self._connection.set_become_plugin(before.pop('become'))
        for option, value in before.items():
            self._connection.set_option(option, value)
        self._connection.user = self._play_context.remote_user = before['remote_user']
        self._connection.control_path = None
        self.bootstrapped = False

    def options(self):
        """The connection's present login, to come back to."""
        kept = ('remote_user', 'password', 'private_key_file', 'ssh_common_args')
        return {'become': self._connection.become, **{option: self._connection.get_option(option) for option in kept}}

    def reconnect(self, task_vars):
        """Open the new connection as the automation account, or as the bootstrap user where that is gone."""
        if self.bootstrapped or not self.can_bootstrap(task_vars):
            super().reconnect(task_vars)
            return
        super().reconnect(task_vars)
        try:
            self._low_level_execute_command('true', sudoable=False)
        except (AnsibleConnectionFailure, AnsibleError) as exc:
            if not refused(exc):
                raise
            self.use_bootstrap(task_vars)
