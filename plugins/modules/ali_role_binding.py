#!/usr/bin/python
# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r'''
module: ali_role_binding
short_description: The exact rights of a RAM role, on ECS instances, instead of AccessKeys
version_added: "0.2.0"
author: The rampart authors (@rampart-hardening)
description:
  - Makes a RAM role that ECS alone may take on, with exactly the system and custom policies named, and gives it to
    instances, whose metadata then want a token (hardened mode). AccessKeys of RAM users that the role replaces are
    made inactive, never deleted.
  - The order is always grant, prove, give to the instances, revoke, deactivate. An instance has one role, and a policy
    one document in force, so that giving another takes the former away; that is why the proof comes before. What fails
    leaves what comes later undone, so that old rights stay, and says so.
  - Policies that make their holder something of an administrator are refused, whatever their name.
options:
  name:
    description: The role.
    type: str
    required: true
  system_policies:
    description: Policies of Alibaba Cloud that the role has.
    type: list
    elements: str
    default: []
  custom_policies:
    description:
      - Policies of the account that the role has, by name, each with its document. It is made with this, or this
        becomes its new default version. Of five versions the oldest that is not in force makes room.
      - A policy without document has to exist, and stays as it is.
    type: dict
    default: {}
  exclusive:
    description:
      - Whether the role loses all other policies, and nobody but ECS may take it on. What somebody attaches while this
        runs is left to the next run.
    type: bool
    default: true
  instances:
    description: ECS instances that get the role, by id (V(i-...)) or by instance name, as in an inventory.
    type: list
    elements: str
    default: []
  instance_tags:
    description: Instances with all of these tags get the role too.
    type: dict
    default: {}
  metadata_tokens:
    description:
      - Whether these instances answer questions about their metadata, and so for the role's credentials, only to those
        that ask for a token first. The API has no hop limit that could be set.
    type: bool
    default: true
  prove:
    description:
      - What the role has to be able to do, checked before anything is taken away. RAM has no call that tries rights, so
        the documents in force are judged. Deny wins. What hangs on a condition counts, and RV(proved) says so.
    type: list
    elements: dict
    default: []
    suboptions:
      actions:
        description: Actions, as C(oss:GetObject).
        type: list
        elements: str
        required: true
      resources:
        description: On which it must be able to, as C(acs:oss:*:*:backups/db/dump.gz).
        type: list
        elements: str
        default: ['*']
  allow_admin:
    description: Whether policies are let through that make an administrator.
    type: bool
    default: false
  allow_admin_reason:
    description: Why. Needed with O(allow_admin), and in the result.
    type: str
  retire_keys:
    description: RAM users whose AccessKeys are made inactive.
    type: list
    elements: str
    default: []
  unused_days:
    description:
      - Keys that were used, or made, within that many days stay active, and are reported. V(0) deactivates all.
      - The key that this runs with stays active in any case.
    type: int
    default: 90
extends_documentation_fragment:
  - rampart.hardening.alibaba
attributes:
  check_mode:
    description: Reads and judges everything, writes nothing, and predicts what a run then changes.
    support: full
  diff_mode:
    description: Returns the whole binding before and after.
    support: full
'''

EXAMPLES = r'''
- name: Let the database hosts write their backups, and retire the key that did so until now
  rampart.hardening.ali_role_binding:
    name: db-backup
    custom_policies:
      db-backup:
        Version: "1"
        Statement:
          - {Effect: Allow, Action: "oss:PutObject", Resource: "acs:oss:*:*:backups/db/*"}
    instance_tags: {role: db}
    prove:
      - {actions: ["oss:PutObject"], resources: ["acs:oss:*:*:backups/db/dump.gz"]}
    retire_keys: [db-backup-user]
    region: cn-hangzhou
  delegate_to: localhost
'''

RETURN = r'''
role:
  description: The role's ARN.
  returned: success, unless check mode would create it
  type: str
  sample: acs:ram::123456789012****:role/db-backup
granted:
  description: Policies that the role did not have.
  returned: success
  type: list
  elements: str
  sample: [Custom/db-backup]
revoked:
  description: Policies that the role has no longer.
  returned: success
  type: list
  elements: str
instances:
  description: The role and the metadata mode of each instance, as they are afterwards.
  returned: success
  type: dict
keys:
  description: >-
    AccessKeys of O(retire_keys), each with C(user), C(id), C(status), C(created), C(last_used) and C(kept), which says
    why an active one stays.
  returned: success
  type: list
  elements: dict
admin:
  description: C(policies) that make an administrator and were let through, each with why, and the C(reason) given.
  returned: success
  type: dict
elsewhere:
  description: Other instances of the region that have the role.
  returned: success
  type: list
  elements: str
proved:
  description: What the role was shown to be able to do, each with C(action), C(resource) and C(conditional).
  returned: success
  type: list
  elements: dict
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

import datetime
import json

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rampart.hardening.plugins.module_utils.cloud_ali import (
    ALI_ARGS,
    ALI_REQUIRED_TOGETHER,
    Ali,
    AliError,
    admin_like,
    allowed,
    listed,
    same,
)

ECS = 'ecs.aliyuncs.com'
TRUST = {
    'Version': '1',
    'Statement': [{'Effect': 'Allow', 'Action': 'sts:AssumeRole', 'Principal': {'Service': [ECS]}}],
}


class Binding:
    """What is there, what shall be there, and the way from one to the other in steps."""

    def __init__(self, module):
        self.module, self.params = module, module.params
        self.ali = Ali(module)
        self.name = self.params['name']
        self.given = {
            f'Custom/{name}': document for name, document in self.params['custom_policies'].items() if document}
        for one, document in self.given.items():
            if not isinstance(document, dict):
                self.ali.refuse(f'{one} has a document that is no mapping')
        self.result = {}

    # reading

    def read(self):
        """Everything that is there, and everything that shall be."""
        role = (self.ali.find('ram', 'GetRole', RoleName=self.name) or {}).get('Role')
        self.arn = role and role['Arn']
        self.trust = role and json.loads(role['AssumeRolePolicyDocument'])
        self.attached = self.policies_of_role() if role else []
        self.wanted = sorted([f'System/{name}' for name in self.params['system_policies']]
                             + [f'Custom/{name}' for name in self.params['custom_policies']])
        self.documents = {one: self.ali.policy(*one.split('/', 1)) for one in (
            self.wanted if self.params['exclusive'] else {*self.wanted, *self.attached})}
        missing = [one for one in self.wanted if not self.documents[one] and one not in self.given]
        if missing:
            self.ali.refuse(f"no such policy: {', '.join(missing)}; give a document, or the right name")
        self.after_documents = {**self.documents, **self.given}
        self.instances = self.read_instances()
        self.elsewhere = sorted(set(self.instances_of_role()) - set(self.instances)) if role and self.ali.region else []
        self.keys = [key for user in self.params['retire_keys'] for key in self.read_keys(user)]

    def policies_of_role(self):
        answer = self.ali.call('ram', 'ListPoliciesForRole', RoleName=self.name)
        return sorted(f"{one['PolicyType']}/{one['PolicyName']}" for one in answer['Policies']['Policy'])

    def read_instances(self):
        """The role, metadata mode and metadata endpoint of each instance, by id."""
        found = {}
        ids = [one for one in self.params['instances'] if one.startswith('i-')]
        for start in range(0, len(ids), 50):
            found.update(self.describe(InstanceIds=json.dumps(ids[start:start + 50])))
        missing = sorted(set(ids) - set(found))
        for name in self.params['instances']:
            if not name.startswith('i-'):
                named = {key: one for key, one in self.describe(InstanceName=name).items() if one['name'] == name}
                if len(named) > 1:
                    self.ali.refuse(f"{name} is the name of {', '.join(sorted(named))}: give ids")
                missing += [] if named else [name]
                found.update(named)
        if missing:
            self.ali.refuse(f"no such instance in {self.ali.region}: {', '.join(missing)}")
        if self.params['instance_tags']:
            tagged = self.describe(Tag=[{'Key': key, 'Value': str(value)}
                                        for key, value in sorted(self.params['instance_tags'].items())])
            if not tagged:
                self.module.warn(f'no instance in {self.ali.region} has the tags of instance_tags')
            found.update(tagged)
        for key, role in self.roles_of(sorted(found)).items():
            found[key]['role'] = role
        return found

    def roles_of(self, ids):
        """The roles of those instances that have one."""
        roles = []
        for start in range(0, len(ids), 50):
            answer = self.ali.call('ecs', 'DescribeInstanceRamRole', InstanceIds=json.dumps(ids[start:start + 50]),
                                   PageSize=50)
            roles += answer['InstanceRamRoleSets']['InstanceRamRoleSet']
        return {one['InstanceId']: one['RamRoleName'] for one in roles if one.get('RamRoleName')}

    def instances_of_role(self):
        """The ids of all instances of the region that have the role."""
        found, page = [], 1
        while True:
            answer = self.ali.call('ecs', 'DescribeInstanceRamRole', RamRoleName=self.name, PageNumber=page,
                                   PageSize=50)
            found += [one['InstanceId'] for one in answer['InstanceRamRoleSets']['InstanceRamRoleSet']]
            if page * 50 >= answer['TotalCount']:
                return found
            page += 1

    def describe(self, **which):
        """Instances by id, whichever they are, from all pages."""
        found, token = {}, {}
        while True:
            answer = self.ali.call('ecs', 'DescribeInstances', MaxResults=100,
                                   AdditionalAttributes=['META_OPTIONS'], **which, **token)
            for one in answer['Instances']['Instance']:
                options = one.get('MetadataOptions') or {}
                found[one['InstanceId']] = {
                    'name': one.get('InstanceName'), 'role': None,
                    'tokens': options.get('HttpTokens') or 'optional',
                    'endpoint': options.get('HttpEndpoint') or 'enabled'}
            if not answer.get('NextToken'):
                return found
            token = {'NextToken': answer['NextToken']}

    def read_keys(self, user):
        """The keys of a user, and of each why it is kept, if it is."""
        keys = self.ali.find('ram', 'ListAccessKeys', UserName=user)
        if keys is None:
            self.ali.refuse(f'no such RAM user: {user}')
        return [self.judge_key(user, key['AccessKeyId'], key['Status'], key['CreateDate'][:10]) for key in
                sorted(keys['AccessKeys']['AccessKey'], key=lambda key: key['AccessKeyId'])]

    def judge_key(self, user, key, status, created):
        used = self.ali.call('ram', 'GetAccessKeyLastUsed', UserName=user, UserAccessKeyId=key)
        date = (used['AccessKeyLastUsed'].get('LastUsedDate') or '')[:10]
        last = date if date[:1].isdigit() else 'never'  # N/A
        days = self.params['unused_days']
        kept = ''
        if status == 'Active':
            if key == self.ali.own_key:
                kept = 'this runs with it'
            elif age(last) < days:
                kept = f'used within {days} days'
            elif age(created) < days:
                kept = f'made within {days} days'
        return {'user': user, 'id': key, 'status': status, 'created': created, 'last_used': last, 'kept': kept}

    # judging

    def judge(self):
        """Refuse an administrator's rights, and what does not suffice; before anything is written."""
        judged = {one: admin_like(document) for one, document in sorted(self.after_documents.items())}
        admin = {one: why for one, why in judged.items() if why}
        self.result['admin'] = {'policies': admin, 'reason': self.params['allow_admin_reason']}
        new = [f"{one} ({'; '.join(why)})" for one, why in admin.items() if one in self.wanted]
        if new and not self.params['allow_admin']:
            self.ali.refuse(f"makes an administrator: {', '.join(new)}; name narrower policies, or set allow_admin and "
                            'allow_admin_reason')
        for one in sorted(set(admin) - set(self.wanted)):
            self.module.warn(f'the role keeps {one}, which makes it an administrator, as exclusive is false')
        self.prove(self.after_documents.values())

    def prove(self, documents):
        documents = list(documents)
        asked = [(action, resource, allowed(documents, action, resource)) for one in self.params['prove']
                 for action in one['actions'] for resource in one['resources']]
        lacking = [f'{action} on {resource}' for action, resource, answer in asked if answer == 'no']
        if lacking:
            self.ali.refuse(f"the role could not do {', '.join(lacking)}; its old rights are in place")
        self.result['proved'] = [dict(action=action, resource=resource, conditional=answer == 'conditionally')
                                 for action, resource, answer in asked]

    def plan(self):
        """What differs; diff and result as a run would leave them."""
        exclusive = self.params['exclusive']
        self.after_trust = TRUST
        if self.trust and not exclusive:
            self.after_trust = self.trust if trusts_ecs(self.trust) else with_ecs(self.trust)
        self.granted = sorted(set(self.wanted) - set(self.attached))
        self.revoked = sorted(set(self.attached) - set(self.wanted)) if exclusive else []
        tokens = 'required' if self.params['metadata_tokens'] else None
        after_instances = {key: {'role': self.name, 'metadata_tokens': tokens or one['tokens']}
                           for key, one in self.instances.items()}
        after_keys = [dict(key, status='Inactive' if key['status'] == 'Active' and not key['kept'] else key['status'])
                      for key in self.keys]
        before = {
            'role': self.name if self.trust else None,
            'trust': self.trust,
            'policies': self.attached,
            'documents': {one: self.documents[one] for one in sorted(self.given)},
            'instances': {key: {'role': one['role'], 'metadata_tokens': one['tokens']}
                          for key, one in sorted(self.instances.items())},
            'keys': {key['id']: f"{key['status']}, {key['user']}" for key in self.keys},
        }
        after = {
            'role': self.name,
            'trust': self.trust if same(self.trust, self.after_trust) else self.after_trust,
            'policies': sorted({*self.attached, *self.wanted} - set(self.revoked)),
            'documents': {one: self.documents[one] if same(self.documents[one], document) else document
                          for one, document in sorted(self.given.items())},
            'instances': dict(sorted(after_instances.items())),
            'keys': {key['id']: f"{key['status']}, {key['user']}" for key in after_keys},
        }
        self.result.update(changed=before != after, granted=self.granted, revoked=self.revoked, keys=after_keys,
                           instances=after['instances'], elsewhere=self.elsewhere,
                           diff={'before': before, 'after': after})
        for key in after_keys:
            if key['kept']:
                self.module.warn(f"AccessKey {key['id']} of {key['user']} stays active: {key['kept']} "
                                 f"(last used: {key['last_used']})")

    # writing

    def apply(self):
        """Grant, prove by what is there by now, whoever wrote it, give to instances, revoke, deactivate."""
        self.grant()
        if self.params['prove']:
            kept = [one for one in self.policies_of_role() if one in self.wanted or not self.params['exclusive']]
            self.prove([self.given.get(one) or self.ali.policy(*one.split('/', 1)) or {} for one in kept])
        for one, document in sorted(self.given.items()):
            self.ali.rewrite_policy(one.split('/', 1)[1], document, self.documents[one])
        for key, one in sorted(self.instances.items()):
            self.give(key, one)
        for one in self.revoked:
            kind, name = one.split('/', 1)
            self.ali.find('ram', 'DetachPolicyFromRole', PolicyType=kind, PolicyName=name, RoleName=self.name)
        self.narrow_trust()
        self.deactivate()

    def grant(self):
        for one, document in sorted(self.given.items()):
            if not self.documents[one]:
                self.ali.create_policy(one.split('/', 1)[1], document)
        if not self.trust:
            self.ali.ensure('ram', 'CreateRole', RoleName=self.name,
                            AssumeRolePolicyDocument=json.dumps(TRUST, sort_keys=True))
        now = self.read_trust()
        if not trusts_ecs(now):
            self.write_trust(with_ecs(now))
        for one in self.granted:
            kind, name = one.split('/', 1)
            self.ali.ensure('ram', 'AttachPolicyToRole', PolicyType=kind, PolicyName=name, RoleName=self.name)

    def read_trust(self):
        role = self.ali.ensure('ram', 'GetRole', RoleName=self.name)['Role']
        self.arn = role['Arn']
        return json.loads(role['AssumeRolePolicyDocument'])

    def write_trust(self, document):
        self.ali.call('ram', 'UpdateRole', RoleName=self.name,
                      NewAssumeRolePolicyDocument=json.dumps(document, sort_keys=True))

    def narrow_trust(self):
        """Only what was seen when the difference was told is taken away."""
        now = self.read_trust()
        if same(now, self.after_trust):
            return
        seen = self.trust or TRUST
        if same(now, seen if trusts_ecs(seen) else with_ecs(seen)):
            self.write_trust(self.after_trust)
        else:
            self.module.warn(f'the trust of {self.name} was changed by somebody else while this ran and is left as it '
                             'is; run this again')

    def give(self, key, one):
        """Give an instance the role, in the place of the one that it had, and have its metadata want a token."""
        if one['role'] != self.name:
            if one['role']:
                self.role_of_instance('Detach', key, one['role'])
            try:
                self.role_of_instance('Attach', key, self.name)
            except AliError as exc:
                if not one['role']:
                    raise
                try:
                    self.role_of_instance('Attach', key, one['role'])
                except AliError as second:
                    raise AliError(f"{exc}. {key} is left without its former role {one['role']}, which could not be "
                                   f'put back: {second}', exc.code) from exc
                raise AliError(f"{exc}. {key} has its former role {one['role']} again", exc.code) from exc
        if self.params['metadata_tokens'] and one['tokens'] != 'required':
            self.ali.call('ecs', 'ModifyInstanceMetadataOptions', InstanceId=key, HttpEndpoint=one['endpoint'],
                          HttpTokens='required')

    def role_of_instance(self, verb, key, role):
        """Attach or detach, and look whether it was done: the call takes many instances, answers 200 where it did
        nothing for some, and refuses the second time when only its first answer was lost."""
        failure = None
        try:
            answer = self.ali.ensure('ecs', f'{verb}InstanceRamRole', InstanceIds=json.dumps([key]), RamRoleName=role)
            for one in answer[f'{verb}InstanceRamRoleResults'][f'{verb}InstanceRamRoleResult']:
                if one.get('Success') is False or str(one.get('Code', '200')) != '200':
                    failure = AliError(f"ecs:{verb}InstanceRamRole of {role} for {key} failed: {one.get('Code')}: "
                                       f"{one.get('Message')}", str(one.get('Code')))
        except AliError as exc:
            failure = exc
        if failure and self.roles_of([key]).get(key) != (role if verb == 'Attach' else None):
            raise failure

    def deactivate(self):
        """Make keys inactive, unless they were used since they were looked at."""
        for key in self.result['keys']:
            was = next(one for one in self.keys if one['id'] == key['id'])
            if was['status'] == key['status']:
                continue
            key.update(self.judge_key(key['user'], key['id'], was['status'], was['created']))
            if key['kept']:
                self.module.warn(f"AccessKey {key['id']} of {key['user']} stays active: it was used while this ran")
                self.result['diff']['after']['keys'][key['id']] = f"Active, {key['user']}"
                continue
            self.ali.call('ram', 'UpdateAccessKey', UserName=key['user'], UserAccessKeyId=key['id'], Status='Inactive')
            key['status'] = 'Inactive'
        self.result['changed'] = self.result['diff']['before'] != self.result['diff']['after']


def age(date):
    """Days since a date, or more than anybody asks for."""
    if date == 'never':
        return float('inf')
    return (datetime.datetime.now(datetime.timezone.utc).date()
            - datetime.datetime.strptime(date, '%Y-%m-%d').date()).days


def trusts_ecs(document):
    """Whether ECS may take the role on without a condition."""
    return any(
        one.get('Effect') == 'Allow' and not one.get('Condition') and 'sts:AssumeRole' in listed(one.get('Action'))
        and ECS in listed((one.get('Principal') or {}).get('Service')) for one in listed(document.get('Statement')))


def with_ecs(document):
    """The same trust, and ECS."""
    return dict(document, Statement=listed(document.get('Statement')) + TRUST['Statement'])


def main():
    module = AnsibleModule(
        argument_spec=dict(
            ALI_ARGS,
            name=dict(type='str', required=True),
            system_policies=dict(type='list', elements='str', default=[]),
            custom_policies=dict(type='dict', default={}),
            exclusive=dict(type='bool', default=True),
            instances=dict(type='list', elements='str', default=[]),
            instance_tags=dict(type='dict', default={}),
            metadata_tokens=dict(type='bool', default=True),
            prove=dict(type='list', elements='dict', default=[], options=dict(
                actions=dict(type='list', elements='str', required=True),
                resources=dict(type='list', elements='str', default=['*']),
            )),
            allow_admin=dict(type='bool', default=False),
            allow_admin_reason=dict(type='str'),
            retire_keys=dict(type='list', elements='str', default=[], no_log=False),
            unused_days=dict(type='int', default=90),
        ),
        required_together=ALI_REQUIRED_TOGETHER,
        required_if=[('allow_admin', True, ['allow_admin_reason'])],
        supports_check_mode=True,
    )
    binding = Binding(module)
    with binding.ali.telling():
        binding.read()
        binding.judge()
        binding.plan()
        if binding.result['changed'] and not module.check_mode:
            binding.apply()
    if binding.arn:
        binding.result['role'] = binding.arn
    module.exit_json(**binding.result)


if __name__ == '__main__':
    main()
