#!/usr/bin/python
# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r'''
module: aws_mfa_enforcement
short_description: People without a second factor can do nothing but enrol one
version_added: "0.2.0"
author: The rampart authors (@rampart-hardening)
description:
  - Puts people into a group whose policy denies everything but enrolling a second factor to whoever did not give one.
  - Somebody with no more than a static key cannot enrol either, or a stolen key would enrol the thief's device. What a
    key is still good for is a session with a second factor (C(sts:GetSessionToken)).
  - Sets the account's password policy, never looser than it is.
  - Tells who has no second factor.
options:
  group:
    description: The group. It is made if need be; who is in it already stays.
    type: str
    default: rampart-people
  users:
    description: Who is put into the group. By default every user with a console password.
    type: list
    elements: str
  exempt:
    description: Users who are left out, such as a sealed account for emergencies.
    type: list
    elements: str
    default: []
  minimum_length:
    description: The least length of a console password.
    type: int
    default: 14
  complexity:
    description: Whether a password needs lower and upper case, digits and symbols.
    type: bool
    default: true
  reuse_prevention:
    description: How many earlier passwords cannot be used again.
    type: int
    default: 24
  max_age:
    description: Days after which a password has to be changed. V(0) is never, or what the account has.
    type: int
    default: 0
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
attributes:
  check_mode:
    description: Can run in check mode and predicts exactly what a run then changes.
    support: full
  diff_mode:
    description: Returns group, policy and password policy before and after.
    support: full
notes:
  - The least permissions that this takes are in C(docs/policies/aws-operator.json) of the collection.
'''

EXAMPLES = r'''
- name: Nobody without a second factor
  rampart.hardening.aws_mfa_enforcement:
    exempt: [break-glass]
  register: mfa

- name: Say who has none
  ansible.builtin.debug:
    msg: "{{ mfa.without_mfa | map(attribute='user') }}"
'''

RETURN = r'''
without_mfa:
  description: >-
    Users with a console password or an active key and without a second factor, each with C(user), C(console_password),
    C(active_keys), C(password_last_used) and whether the group's policy holds for them (C(enforced)).
  returned: success
  type: list
  elements: dict
root:
  description: Whether the account's root user has a second factor (C(mfa)) and access keys (C(access_keys)).
  returned: success
  type: dict
missing_permission:
  description: The permission that the credentials lack.
  returned: when Amazon denied a call
  type: str
done:
  description: What was changed before the failure.
  returned: failure
  type: list
  elements: str
'''

import json
from contextlib import suppress

with suppress(ImportError):  # AnsibleAWSModule says what is missing
    import boto3

from ansible.module_utils.common.warnings import warn
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.rampart.hardening.plugins.module_utils.aws_policy import canonical
from ansible_collections.rampart.hardening.plugins.module_utils.cloud_aws import Aws

NO_ENTITY = ('NoSuchEntity',)
POLICY = 'require-mfa'
LOOK = ['iam:GetMFADevice', 'iam:GetUser', 'iam:ListMFADevices', 'iam:ListVirtualMFADevices', 'sts:GetSessionToken']
ENROL = ['iam:CreateVirtualMFADevice', 'iam:EnableMFADevice', 'iam:ResyncMFADevice']
REQUIRE = ('RequireLowercaseCharacters', 'RequireNumbers', 'RequireSymbols', 'RequireUppercaseCharacters')


def policy(partition):
    """What holds for people: enrol, give the second factor, and only then do what their other policies allow."""
    own, devices = f'arn:{partition}:iam::*:user/${{aws:username}}', f'arn:{partition}:iam::*:mfa/*'
    without = {'BoolIfExists': {'aws:MultiFactorAuthPresent': 'false'}}
    by_key = {'Null': {'aws:MultiFactorAuthPresent': 'true'}}  # a console session tells, true or false
    return canonical({
        'Version': '2012-10-17',
        'Statement': [
            _say('ListDevices', 'Allow', Action=['iam:ListVirtualMFADevices'], Resource=['*']),
            _say('MakeDevices', 'Allow', Action=['iam:CreateVirtualMFADevice'], Resource=[devices]),
            _say(
                'ManageOwnDevices', 'Allow', Resource=[own],
                Action=ENROL[1:] + LOOK[:3],
            ),
            _say('OnlyEnrolWithoutMFA', 'Deny', NotAction=ENROL + LOOK, Resource=['*'], Condition=without),
            _say('EnrolNobodyElse', 'Deny', Action=ENROL, NotResource=[own, devices], Condition=without),
            _say('NotEvenEnrolByKey', 'Deny', NotAction=LOOK, Resource=['*'], Condition=by_key),
        ],
    })


def _say(sid, effect, **elements):
    return {'Sid': sid, 'Effect': effect, **elements}


def main():
    texts = dict(type='list', elements='str')
    module = AnsibleAWSModule(
        argument_spec=dict(
            group=dict(type='str', default='rampart-people'),
            users=texts,
            exempt=dict(texts, default=[]),
            minimum_length=dict(type='int', default=14),
            complexity=dict(type='bool', default=True),
            reuse_prevention=dict(type='int', default=24),
            max_age=dict(type='int', default=0),
        ),
        supports_check_mode=True,
    )
    Enforcement(module).run()


class Enforcement:
    """The group of people, what holds for it, and who has no second factor."""

    def __init__(self, module):
        self.module, self.params, self.aws = module, module.params, Aws(module)
        self.group = {'GroupName': self.params['group']}

    def run(self):
        caller = self.aws.identity()
        users = [self.user(one) for one in self.aws.call('iam', 'list_users')['Users']]
        before, after = self.have(), {}
        chosen = self.params['users']
        if chosen is None:
            chosen = [one['user'] for one in users if one['console_password']]
        elif unknown := sorted(set(chosen) - {one['user'] for one in users}):
            self.aws.fail(f'There is no user {", ".join(unknown)}.')
        members = before['members'] or []
        after['members'] = sorted({*members, *(set(chosen) - set(self.params['exempt']))})
        after['policy'] = policy(caller['partition'])
        after['password_policy'] = self.passwords(before['password_policy'])
        self.spare(caller, set(after['members']) - set(members if before['policy'] == after['policy'] else []))

        changed = before != after
        if changed and not self.module.check_mode:
            self.enforce(before, after)
        denied = [one['user'] for one in users if one['user'] in after['members'] and one['active_keys']]
        if denied:
            warn(f'Only in sessions with a second factor will these keys be of use: {", ".join(denied)}.')
        summary = self.aws.call('iam', 'get_account_summary')['SummaryMap']
        self.module.exit_json(
            changed=changed,
            diff={'before': before, 'after': after},
            without_mfa=[
                dict(one, enforced=one['user'] in after['members'])
                for one in users
                if not one.pop('mfa') and (one['console_password'] or one['active_keys'])
            ],
            root={
                'mfa': bool(summary.get('AccountMFAEnabled')),
                'access_keys': bool(summary.get('AccountAccessKeysPresent')),
            },
        )

    def user(self, facts):
        """A user's ways in, and whether there is a second factor."""
        name = {'UserName': facts['UserName']}
        keys = self.aws.call('iam', 'list_access_keys', **name, absent=NO_ENTITY)
        devices = self.aws.call('iam', 'list_mfa_devices', **name, absent=NO_ENTITY)
        last = facts.get('PasswordLastUsed')
        return {
            'user': facts['UserName'],
            'console_password': self.aws.call('iam', 'get_login_profile', **name, absent=NO_ENTITY) is not None,
            'password_last_used': last and last.date().isoformat(),
            'active_keys': sum(key['Status'] == 'Active' for key in keys['AccessKeyMetadata']) if keys else 0,
            'mfa': bool(devices and devices['MFADevices']),
        }

    def have(self):
        """What there is now."""
        group = self.aws.call('iam', 'get_group', **self.group, absent=NO_ENTITY)
        held = group and self.aws.call('iam', 'get_group_policy', **self.group, PolicyName=POLICY, absent=NO_ENTITY)
        passwords = self.aws.call('iam', 'get_account_password_policy', absent=NO_ENTITY)
        return {
            'members': sorted(one['UserName'] for one in group['Users']) if group else None,
            'policy': held and canonical(held['PolicyDocument']),
            'password_policy': passwords and _passwords(passwords['PasswordPolicy']),
        }

    def passwords(self, have):
        """The password policy as it is to be: what was asked for, or what is stricter already."""
        have = have or {}
        ages = [age for age in (self.params['max_age'], have.get('MaxPasswordAge')) if age]
        return {
            'MinimumPasswordLength': max(self.params['minimum_length'], have.get('MinimumPasswordLength', 0)),
            **{name: self.params['complexity'] or have.get(name, False) for name in REQUIRE},
            'PasswordReusePrevention': max(self.params['reuse_prevention'], have.get('PasswordReusePrevention') or 0),
            'MaxPasswordAge': min(ages, default=0),
            'AllowUsersToChangePassword': True,
            'HardExpiry': have.get('HardExpiry', False),
        }

    def spare(self, caller, touched):
        """Refuse to deny everything to whoever runs this."""
        own = caller['arn'].split('/')[-1] if ':user/' in caller['arn'] else None
        if own in touched and self.static():
            self.aws.fail(
                f'{own} runs this with a static key, which would be denied everything from then on: run it with a role,'
                ' or in a session with a second factor, or put the user into exempt.'
            )

    def static(self):
        """Whether the credentials are those of no session."""
        if self.params['access_key']:
            return not self.params['session_token']
        found = boto3.session.Session(profile_name=self.params['profile']).get_credentials()
        return not (found and found.token)

    def enforce(self, before, after):
        """The policy first, and then whom it is to hold for."""
        if before['password_policy'] != after['password_policy']:
            wanted = {key: value for key, value in after['password_policy'].items() if value != 0}
            self.aws.write('password policy set', 'iam', 'update_account_password_policy', **wanted)
        if before['members'] is None:
            self.aws.write(f"group {self.params['group']} made", 'iam', 'create_group', **self.group)
        if before['policy'] != after['policy']:
            self.aws.write(
                f'group policy {POLICY} set', 'iam', 'put_group_policy', **self.group, PolicyName=POLICY,
                PolicyDocument=json.dumps(after['policy']), again=NO_ENTITY,
            )
        for user in sorted(set(after['members']) - set(before['members'] or [])):
            self.aws.write(
                f'{user} put into the group', 'iam', 'add_user_to_group', **self.group, UserName=user, again=NO_ENTITY
            )


def _passwords(found):
    """The account's password policy without what Amazon works out itself."""
    return {
        'MinimumPasswordLength': found['MinimumPasswordLength'],
        **{name: found[name] for name in REQUIRE},
        'PasswordReusePrevention': found.get('PasswordReusePrevention') or 0,
        'MaxPasswordAge': found.get('MaxPasswordAge') or 0,
        'AllowUsersToChangePassword': found['AllowUsersToChangePassword'],
        'HardExpiry': found.get('HardExpiry') or False,
    }


if __name__ == '__main__':
    main()
