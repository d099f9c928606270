# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller half of a confirmed change: apply over one connection, prove and confirm over another."""
from __future__ import annotations

import contextlib
import getpass
import os
import platform
import time

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.rampart.hardening.plugins.module_utils.transaction import make_id

JOURNAL_MODULE = 'rampart.hardening.journal'
GRACE = 20  # seconds after the deadline until which a host may still be busy taking the change back
KEEP_ALIVE = '-o ServerAliveInterval=5 -o ServerAliveCountMax=3'


def run_id(task_vars):
    """The id of this run: the same on every host and for every task of one ansible-playbook process."""
    given = task_vars.get('hardening_run_id') or task_vars.get('awx_job_id') or task_vars.get('tower_job_id')
    if given:
        return str(given)
    parent = os.getppid()  # a task runs in a worker, the run is the process that forked it
    try:
        started = os.stat(f'/proc/{parent}').st_ctime
    except OSError:
        return str(parent)
    return time.strftime('%Y%m%dT%H%M%S', time.gmtime(started)) + f'-{parent}'


def survey(action, task_vars):
    """The result of the survey module, run by `action`; its facts are marked with this run.

    `mfa.skew` is by how many seconds the host's clock is off ours. What the way there and back may explain is not
    counted.
    """
    asked = time.time()
    result = action._execute_module(module_name='rampart.hardening.survey', module_args={}, task_vars=task_vars)
    answered = time.time()
    if 'ansible_facts' in result:
        facts = result['ansible_facts']['rampart_survey']
        facts['run'] = run_id(task_vars)
        facts['mfa']['skew'] = min(0, facts['mfa']['time'] - asked) or max(0, facts['mfa']['time'] - answered)
    return result


class ConfirmedActionBase(ActionBase):
    """Runs the task's module, which leaves its change armed, then opens a new connection and confirms it there."""

    _supports_check_mode = True
    _supports_diff = True
    module: str | None = None  # where it is not the task's own

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.keep_alive()

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        del tmp
        task_vars = task_vars or {}
        result.update(self.transact(self.arguments(self._task.args.copy(), task_vars), task_vars))
        if result.get('changed'):
            result['ansible_facts'] = {'rampart_compared': {}}
            for note in self.notes(result):
                self._display.display(f'{self._task_host(task_vars)}: {note}')
        return result

    def notes(self, result):
        """What people should read of a change, or of one that check mode foresees, whatever the verbosity."""
        return result.get('notes') or []

    def arguments(self, args, task_vars):
        """The module's arguments: the task's own and its plan's, completed by the shared policy and who runs this."""
        args = {**(args.pop('plan', None) or {}), **args}
        policy = {'confirm_timeout': 'hardening_confirm_timeout', 'keep': 'hardening_journal_keep',
                  'keep_days': 'hardening_journal_days'}
        for key, variable in policy.items():
            if args.get(key) is None and task_vars.get(variable) is not None:
                args[key] = self._templar.template(task_vars[variable])
        if not args.get('role'):
            args['role'] = self._task._role.get_name(include_role_fqcn=False) if self._task._role else ''
        args['_change'] = make_id()
        args['_run'] = run_id(task_vars)
        args['_who'] = f'{os.environ.get("SUDO_USER") or getpass.getuser()}@{platform.node()}'
        return args

    def transact(self, args, task_vars):
        """One whole transaction; the result says how the host was left, whatever happened."""
        started = time.monotonic()
        change, deadline = args['_change'], started + int(args.get('confirm_timeout') or 60)
        try:
            result = self._execute_module(module_name=self.module or self._task.action, module_args=args,
                                          task_vars=task_vars)
        except AnsibleConnectionFailure as exc:
            # The connection died in mid-change (or there never was one): only the host knows how far it came.
            if self._task.check_mode:
                raise
            result = dict(unreachable=True, msg=str(exc))
        left = result.pop('left', None)
        if self._task.check_mode:
            return result
        if result.get('unreachable'):
            return self.aftermath(change, f'the connection was lost during the change ({result.get("msg")})',
                                  deadline, task_vars)
        if result.get('failed') and 'state' not in result:  # it did not end as our modules do: killed, for one
            return dict(result, **self.aftermath(change, f'the module did not finish ({result.get("msg")})',
                                                 deadline, task_vars))
        if result.get('failed') or result.get('state') != 'applied':
            return result
        if left is not None:  # the host's time counts, and it begins later than ours
            deadline = time.monotonic() + left
        answer = self.ask(dict(confirm=change), deadline, task_vars)
        if answer is None:
            return self.aftermath(change, 'no new connection to the host could be opened after the change',
                                  deadline, task_vars)
        result['state'] = answer['entry']['state']
        if result['state'] != 'confirmed':
            result.update(failed=True, changed=False, msg=self.verdict(answer['entry']))
        return result

    def keep_alive(self):
        """Notice a connection that died without a word (a power cut, a firewall); what the user has set comes first."""
        with contextlib.suppress(KeyError):
            given = self._connection.get_option('ssh_extra_args') or ''
            if KEEP_ALIVE not in given:
                self._connection.set_option('ssh_extra_args', f'{given} {KEEP_ALIVE}'.strip())

    def reconnect(self, task_vars):
        """Drop what is left of the old connection, so that the next command opens a new one."""
        del task_vars
        self._connection.reset()

    def ask(self, args, deadline, task_vars):
        """Ask the host's journal over a new connection until it answers; None where it has not by `deadline`."""
        while True:
            try:
                self.reconnect(task_vars)
                answer = self._execute_module(module_name=JOURNAL_MODULE, module_args=args, task_vars=task_vars)
                if not answer.get('unreachable') and not answer.get('failed'):
                    return answer
                trouble = answer.get('msg', answer)
            except (AnsibleConnectionFailure, AnsibleError) as exc:
                trouble = exc
            self._display.vv(f'no confirmation yet: {trouble}', host=self._task_host(task_vars))
            if time.monotonic() + 1 >= deadline:
                return None
            time.sleep(1)

    def aftermath(self, change, trouble, deadline, task_vars):
        """See to it that `change` is taken back, by the host itself where it cannot be reached; say how it was left."""
        host = self._task_host(task_vars)
        left = max(0, deadline - time.monotonic())
        self._display.warning(f'{host}: {trouble}; waiting up to {left + GRACE:.0f} s for the host to answer')
        answer = self.ask(dict(abandon=change), deadline + GRACE, task_vars)
        if answer is None:
            return dict(failed=True, changed=False, change=change, state='unknown',
                        msg=f'{trouble}, and the host has not answered since. It takes the change back by itself '
                            'within the confirm timeout, and after a restart; look with rampart.hardening.journal.')
        entry = answer['entry']
        confirmed = entry['state'] == 'confirmed'  # one that needs no confirmation
        return dict(failed=not confirmed, changed=confirmed, change=change, state=entry['state'],
                    msg=f'{trouble}. {self.verdict(entry)}')

    @staticmethod
    def verdict(entry):
        """How a change ended, in words."""
        state, reverted = entry.get('state'), entry.get('reverted') or {}
        if state in ('absent', 'abandoned'):
            return 'The change had not begun: the host is as before.'
        if state in ('reverted', 'reverting'):
            troubles = reverted.get('troubles')
            end = 'but not all of it could be: ' + '; '.join(troubles) if troubles else 'the host is as before.'
            more = '; the host goes on trying' if state == 'reverting' else ''
            return f'The change was taken back ({reverted.get("reason", "no reason recorded")}): {end}{more}'
        if state == 'confirmed':
            return 'The change was confirmed all the same.'
        return f'The change is still {state}; the host takes it back by itself when its time is up.'

    @staticmethod
    def _task_host(task_vars):
        return task_vars.get('inventory_hostname', 'host')
