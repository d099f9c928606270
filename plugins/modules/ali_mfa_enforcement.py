#!/usr/bin/python
# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r'''
module: ali_mfa_enforcement
short_description: Nobody into an Alibaba Cloud account's console without a second factor
version_added: "0.2.0"
author: The rampart authors (@rampart-hardening)
description:
  - Sets how RAM users of an account log in to the console - a second factor for everybody, asked for every time, and
    what passwords have to be like.
  - Keeps a group whose members can do nothing without a second factor but enrol one, and puts everybody into it who can
    log in to the console.
  - Tells who can log in to the console and has no second factor.
  - None of this concerns AccessKeys. A request signed with one knows nothing of second factors, so that RAM's condition
    C(acs:MFAPresent) does not hold for it; replace them with M(rampart.hardening.ali_role_binding).
options:
  mfa_for_login:
    description:
      - Who needs a second factor to log in, V(mandatory) everybody, V(adaptive) whose login is unusual, V(independent)
        those of whom their own settings say so.
      - Who has none yet is made to enrol one at the next login.
    type: str
    choices: [mandatory, adaptive, independent]
    default: mandatory
  remember_mfa:
    description: Whether a browser may leave out the second factor for seven days.
    type: bool
    default: false
  session_hours:
    description: Hours after which people have to log in again, 1 to 24.
    type: int
    default: 6
  manage_own_keys:
    description: Whether people may make AccessKeys of their own.
    type: bool
    default: false
  minimum_length:
    description: The least length of a console password, 8 to 32.
    type: int
    default: 14
  complexity:
    description: Whether a password needs lower and upper case, digits and symbols.
    type: bool
    default: true
  reuse_prevention:
    description: How many earlier passwords cannot be used again, 0 to 24.
    type: int
    default: 24
  max_age:
    description: Days after which a password has to be changed, up to 1095. V(0) is never, or what the account has.
    type: int
    default: 0
  max_attempts:
    description: Wrong passwords after which the login is locked for an hour, up to 32. V(0) is no limit.
    type: int
    default: 5
  group:
    description: The group whose members can do nothing without a second factor but enrol one. Made if need be.
    type: str
    default: rampart-people
  policy:
    description: The custom policy that says so, which is this module's to write.
    type: str
    default: rampart-deny-without-mfa
  exempt:
    description:
      - RAM users who can log in to the console and are not put into the group, as an account for emergencies.
        They need a second factor to log in all the same where O(mfa_for_login) is V(mandatory).
      - Who is in the group already stays there.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - rampart.hardening.alibaba
attributes:
  check_mode:
    description: Reads everything, writes nothing, and predicts what a run then changes.
    support: full
  diff_mode:
    description: Returns settings, policy and members before and after.
    support: full
'''

EXAMPLES = r'''
- name: A second factor for everybody
  rampart.hardening.ali_mfa_enforcement:
    exempt: [break-glass]
  delegate_to: localhost
  register: ali_mfa

- name: Say who has to enrol
  ansible.builtin.debug:
    var: ali_mfa.without_mfa
'''

RETURN = r'''
console_users:
  description: RAM users who can log in to the console.
  returned: success
  type: list
  elements: str
without_mfa:
  description: Those of them who have no device for a second factor.
  returned: success
  type: list
  elements: str
outside:
  description: Those of them who are not in the group.
  returned: success
  type: list
  elements: str
root:
  description: Whether the account's own login has a second factor (C(mfa)). Only its owner can change that.
  returned: success
  type: dict
missing_permission:
  description: The permission that the credentials lack.
  returned: when Alibaba Cloud denied a call
  type: str
done:
  description: What was changed before the failure, as operation and names.
  returned: failure
  type: list
  elements: str
'''

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rampart.hardening.plugins.module_utils.cloud_ali import (
    ALI_ARGS,
    ALI_REQUIRED_TOGETHER,
    Ali,
    AliError,
    same,
)

PREFERENCE = {  # the option, where the answer has it, its name there and in the request
    'mfa_for_login': ('LoginProfilePreference', 'MFAOperationForLogin'),
    'remember_mfa': ('LoginProfilePreference', 'EnableSaveMFATicket'),
    'session_hours': ('LoginProfilePreference', 'LoginSessionDuration'),
    'manage_own_keys': ('AccessKeyPreference', 'AllowUserToManageAccessKeys'),
    'manage_own_mfa': ('MFAPreference', 'AllowUserToManageMFADevices'),
}
PASSWORD = {  # as options have it, and as the API
    'minimum_length': ['MinimumPasswordLength'],
    'complexity': [f'Require{kind}' for kind in ('LowercaseCharacters', 'UppercaseCharacters', 'Numbers', 'Symbols')],
    'reuse_prevention': ['PasswordReusePrevention'],
    'max_age': ['MaxPasswordAge'],
    'max_attempts': ['MaxLoginAttemps'],  # so it is spelt
}
# What somebody without a second factor may do: look at themselves, change their password, enrol. Where no other policy
# allows it, they may not, but RAM lets people enrol whom the security preference lets manage their own devices.
ENROL = [
    'ram:BindMFADevice', 'ram:ChangePassword', 'ram:CreateVirtualMFADevice', 'ram:GetLoginProfile',
    'ram:GetPasswordPolicy', 'ram:GetSecurityPreference', 'ram:GetUser', 'ram:GetUserMFAInfo',
    'ram:ListVirtualMFADevices', 'sts:GetCallerIdentity',
]
DENY = {
    'Version': '1',
    'Statement': [{
        'Effect': 'Deny', 'NotAction': ENROL, 'Resource': '*', 'Condition': {'Bool': {'acs:MFAPresent': ['false']}},
    }],
}
TRIES = 3


class Enforcement:
    """What is there, what shall be there, and the way from one to the other."""

    def __init__(self, module):
        self.module, self.params = module, module.params
        self.ali = Ali(module)
        self.preference = dict(
            {name: self.params[name] for name in PREFERENCE if name != 'manage_own_mfa'},
            manage_own_mfa=True)  # who may not manage devices cannot enrol one
        self.password = {field: self.params[name] for name, fields in PASSWORD.items() for field in fields
                         if name != 'max_age' or self.params[name]}
        self.result = {}

    def read(self):
        """Everything that is there."""
        self.was_preference, self.was_password = self.read_preference(), self.read_password()
        self.was_policy = self.ali.policy('Custom', self.params['policy'])
        group = self.ali.find('ram', 'GetGroup', GroupName=self.params['group'])
        self.members, self.attached = [], False
        if group:
            self.members = sorted(one['UserName'] for one in self.ali.ram_pages(
                'ListUsersForGroup', 'Users', 'User', GroupName=self.params['group']))
            policies = self.ali.call('ram', 'ListPoliciesForGroup', GroupName=self.params['group'])
            self.attached = any((one['PolicyType'], one['PolicyName']) == ('Custom', self.params['policy'])
                                for one in policies['Policies']['Policy'])
        users = [one['UserName'] for one in self.ali.ram_pages('ListUsers', 'Users', 'User')]
        self.console = sorted(
            user for user in users if self.ali.find('ram', 'GetLoginProfile', UserName=user))
        self.without = [user for user in self.console if not self.has_device(user)]
        unknown = sorted(set(self.params['exempt']) - set(users))
        if unknown:
            self.module.warn(f"exempt names users who are not there: {', '.join(unknown)}")
        account = self.ali.call('ims', 'GetAccountMFAInfo')
        self.group = bool(group)
        self.joining = sorted(set(self.console) - set(self.members) - set(self.params['exempt']))
        self.result.update(
            console_users=self.console, without_mfa=self.without, root={'mfa': bool(account['IsMFAEnable'])},
            outside=sorted(set(self.console) - set(self.members) - set(self.joining)))

    def has_device(self, user):
        answer = self.ali.find('ram', 'GetUserMFAInfo', UserName=user)
        return bool(answer and (answer.get('MFADevice') or {}).get('SerialNumber'))

    def read_preference(self):
        answer = self.ali.call('ims', 'GetSecurityPreference')['SecurityPreference']
        return {name: (answer.get(part) or {}).get(field) for name, (part, field) in PREFERENCE.items()}

    def read_password(self):
        return self.ali.call('ims', 'GetPasswordPolicy')['PasswordPolicy']

    def plan(self):
        """What differs; diff and result as a run would leave them."""
        before = {
            'security_preference': self.was_preference,
            'password_policy': {field: self.was_password.get(field) for field in sorted(self.password)},
            'policy': self.was_policy,
            'group': {'name': self.params['group'] if self.group else None, 'members': self.members,
                      'policy': self.params['policy'] if self.attached else None},
        }
        after = {
            'security_preference': self.preference,
            'password_policy': dict(sorted(self.password.items())),
            'policy': self.was_policy if same(self.was_policy, DENY) else DENY,
            'group': {'name': self.params['group'], 'members': sorted({*self.members, *self.joining}),
                      'policy': self.params['policy']},
        }
        self.result.update(changed=before != after, diff={'before': before, 'after': after})

    def apply(self):
        """The door first, as that one locks nobody out; then who is inside."""
        self.settle('SetSecurityPreference', self.read_preference, lambda now: {
            PREFERENCE[name][1]: value for name, value in self.preference.items() if now[name] != value})
        # unlike the preference, what is left out here goes back to its default: all that is there is sent along
        self.settle('SetPasswordPolicy', self.read_password, lambda now: {
            **now, **self.password} if any(now.get(field) != value for field, value in self.password.items()) else {})
        name, group = self.params['policy'], self.params['group']
        if not self.was_policy:
            self.ali.create_policy(name, DENY)
        self.ali.rewrite_policy(name, DENY, self.was_policy)
        if not self.group:
            self.ali.ensure('ram', 'CreateGroup', GroupName=group)
        if not self.attached:
            self.ali.ensure('ram', 'AttachPolicyToGroup', PolicyType='Custom', PolicyName=name, GroupName=group)
        for user in self.joining:
            self.ali.ensure('ram', 'AddUserToGroup', UserName=user, GroupName=group)

    def settle(self, action, read, difference):
        """Write what differs until nothing does: neither of these has versions, so another may be writing as well."""
        for _try in range(TRIES):
            fields = difference(read())
            if not fields:
                return
            self.ali.call('ims', action, **fields)
        if difference(read()):
            raise AliError(f'ram:{action} does not last: somebody else is changing the same settings; find out who')


def main():
    module = AnsibleModule(
        argument_spec=dict(
            ALI_ARGS,
            mfa_for_login=dict(type='str', choices=['mandatory', 'adaptive', 'independent'], default='mandatory'),
            remember_mfa=dict(type='bool', default=False),
            session_hours=dict(type='int', default=6),
            manage_own_keys=dict(type='bool', default=False, no_log=False),
            minimum_length=dict(type='int', default=14),
            complexity=dict(type='bool', default=True),
            reuse_prevention=dict(type='int', default=24),
            max_age=dict(type='int', default=0),
            max_attempts=dict(type='int', default=5),
            group=dict(type='str', default='rampart-people'),
            policy=dict(type='str', default='rampart-deny-without-mfa'),
            exempt=dict(type='list', elements='str', default=[]),
        ),
        required_together=ALI_REQUIRED_TOGETHER,
        supports_check_mode=True,
    )
    enforcement = Enforcement(module)
    with enforcement.ali.telling():
        enforcement.read()
        enforcement.plan()
        if enforcement.result['changed'] and not module.check_mode:
            enforcement.apply()
    module.exit_json(**enforcement.result)


if __name__ == '__main__':
    main()
