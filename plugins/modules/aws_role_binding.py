#!/usr/bin/python
# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r'''
module: aws_role_binding
short_description: A role with exactly these rights, on these instances, in place of static keys
version_added: "0.2.0"
author: The rampart authors (@rampart-hardening)
description:
  - Gives an IAM role exactly the policies, the trust and the boundary that are listed, and binds it to EC2 instances,
    whose metadata service then asks for tokens (IMDSv2).
  - Deactivates the static access keys that the role takes the place of. No key is ever deleted.
  - Rights of an administrator are refused. So are trust policies that let in whom they do not name.
  - What the role must be able to do (O(prove)) is simulated with the rights that it will be left with, before
    anything is changed. Then the order is grant, attach, prove, revoke, deactivate. Where the second proof fails, what
    the role had before it still has.
options:
  name:
    description: Name of the role, and of its instance profile, which it gets where the trust lets EC2 instances in.
    type: str
    required: true
  managed_policies:
    description: >-
      ARNs of managed policies. A name without path stands for the account's own policy, or else for Amazon's.
    type: list
    elements: str
    default: []
  inline_policies:
    description: Policy documents by name.
    type: dict
    default: {}
  trust:
    description: Policy document that says who may assume the role. By default EC2 instances.
    type: dict
  boundary:
    description: >-
      ARN of the managed policy that bounds the role. Empty takes a boundary away; without this option it stays.
    type: str
  exclusive:
    description: Whether the role loses other policies, inline ones too.
    type: bool
    default: true
  instances:
    description: >-
      Instances that get the role, by id, by address, or by a name that is their C(Name) tag or DNS name. Names of the
      inventory serve where they are one of these.
    type: list
    elements: str
    default: []
  instance_tags:
    description: Instances with all these tags get the role too.
    type: dict
    default: {}
  metadata_hop_limit:
    description: How far the metadata service answers. Containers behind a bridge need V(2).
    type: int
    choices: [1, 2]
    default: 1
  prove:
    description: What the role must be able to do.
    type: list
    elements: dict
    default: []
    suboptions:
      actions:
        description: Actions, as C(s3:GetObject).
        type: list
        elements: str
        required: true
      resources:
        description: ARNs on which it must be able to.
        type: list
        elements: str
        default: ["*"]
      context:
        description: Values of condition keys, as C(aws:RequestedRegion).
        type: dict
        default: {}
  allow_admin:
    description: Whether rights of an administrator are let through.
    type: bool
    default: false
  allow_admin_reason:
    description: Why. It is part of the result.
    type: str
  retire_keys:
    description: Users whose access keys are deactivated.
    type: list
    elements: str
    default: []
  unused_days:
    description: >-
      A key that was used, or made, less than this many days ago stays active and is told with the day of its last use.
      V(0) deactivates all.
    type: int
    default: 90
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
attributes:
  check_mode:
    description: Can run in check mode and predicts exactly what a run then changes. The first proof is made there too.
    support: full
  diff_mode:
    description: Returns the whole binding before and after.
    support: full
notes:
  - The least permissions that this takes are in C(docs/policies/aws-operator.json) of the collection.
  - Simulation knows policies, boundary and service control policies. It does not know policies of buckets and keys.
'''

EXAMPLES = r'''
- name: Databases read their backups' bucket by role, not by key
  rampart.hardening.aws_role_binding:
    name: db
    managed_policies: [AmazonSSMManagedInstanceCore]
    inline_policies:
      backups:
        Version: "2012-10-17"
        Statement:
          - {Effect: Allow, Action: "s3:GetObject", Resource: "arn:aws:s3:::backups/db/*"}
    instances: "{{ groups['db'] }}"
    prove:
      - {actions: ["s3:GetObject"], resources: ["arn:aws:s3:::backups/db/latest"]}
    retire_keys: [db-backup]
    region: eu-central-1
'''

RETURN = r'''
role:
  description: The role as it is left, or would be, with C(arn), C(trust), C(boundary) and its policies.
  returned: success
  type: dict
instances:
  description: Profile and metadata options of the instances that were named, by id.
  returned: success
  type: dict
elsewhere:
  description: Other instances that have the role.
  returned: success
  type: list
  elements: str
proved:
  description: What the role was shown to be able to do, each with C(action) and C(resource).
  returned: success
  type: list
  elements: dict
keys:
  description: >-
    Access keys of the users in O(retire_keys), each with C(user), C(id), C(status), C(created), C(last_used) and
    C(kept), which says why an active key stays.
  returned: success
  type: list
  elements: dict
admin:
  description: Rights of an administrator that were let through, each with where it is, and the reason given.
  returned: when there are any
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

import datetime
import json
import re
import time

from ansible.module_utils.common.warnings import warn
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.rampart.hardening.plugins.module_utils.aws_policy import (
    administrator,
    canonical,
    listed,
    trusting,
)
from ansible_collections.rampart.hardening.plugins.module_utils.cloud_aws import Aws

NO_ENTITY = ('NoSuchEntity',)
EC2_TRUST = {
    'Version': '2012-10-17',
    'Statement': [{'Effect': 'Allow', 'Action': 'sts:AssumeRole', 'Principal': {'Service': 'ec2.amazonaws.com'}}],
}
LIVE_STATES = ['pending', 'running', 'stopping', 'stopped']
NOTHING = {'Version': '2012-10-17', 'Statement': [{'Effect': 'Deny', 'Action': '*', 'Resource': '*'}]}
RIGHTS = ('trust', 'boundary', 'managed_policies', 'inline_policies')


def main():
    texts = dict(type='list', elements='str', default=[])
    module = AnsibleAWSModule(
        argument_spec=dict(
            name=dict(type='str', required=True),
            managed_policies=texts,
            inline_policies=dict(type='dict', default={}),
            trust=dict(type='dict'),
            boundary=dict(type='str'),
            exclusive=dict(type='bool', default=True),
            instances=texts,
            instance_tags=dict(type='dict', default={}),
            metadata_hop_limit=dict(type='int', choices=[1, 2], default=1),
            prove=dict(
                type='list',
                elements='dict',
                default=[],
                options=dict(
                    actions=dict(type='list', elements='str', required=True),
                    resources=dict(type='list', elements='str', default=['*']),
                    context=dict(type='dict', default={}),
                ),
            ),
            allow_admin=dict(type='bool', default=False),
            allow_admin_reason=dict(type='str'),
            retire_keys=dict(type='list', elements='str', default=[], no_log=False),
            unused_days=dict(type='int', default=90),
        ),
        required_if=[('allow_admin', True, ['allow_admin_reason'])],
        supports_check_mode=True,
    )
    Binding(module).run()


class Binding:
    """One role: what it has, what it shall have, and the way from one to the other."""

    def __init__(self, module):
        self.module, self.params, self.aws = module, module.params, Aws(module)
        self.name = self.params['name']
        self.documents = {}  # of managed policies, by ARN

    def run(self):
        self.caller = self.aws.identity()
        self.arn = f"arn:{self.caller['partition']}:iam::{self.caller['account']}:role/{self.name}"
        before = self.role()
        want = self.wanted(before)
        admin = self.judge(want)
        bound, elsewhere = self.instances()
        ec2 = 'ec2.amazonaws.com' in json.dumps(want['trust'])
        if bound and not ec2:
            self.aws.fail('The trust does not let ec2.amazonaws.com assume the role: no instance could use it.')
        keys = self.keys()
        proved = self.simulate(want)

        profile = self.profile()
        had = self.name if profile else None
        hops = self.params['metadata_hop_limit']
        options = {'http_tokens': 'required', 'hop_limit': hops, 'http_endpoint': 'enabled'}
        after = {one: {'profile': self.name, **options} for one in bound}
        diff = {
            'before': self.picture(before, had, bound, {key['id']: key['status'] for key in keys}, keys),
            'after': self.picture(
                want,
                had or (self.name if ec2 else None),
                after,
                {key['id']: 'Inactive' if self.retires(key) else key['status'] for key in keys},
                keys,
            ),
        }
        if diff['before'] != diff['after'] and not self.module.check_mode:
            granted = self.grant(before, want)
            self.attach(profile, ec2, bound, after)
            self.prove(want, granted)
            self.revoke(granted, want)
            self.deactivate(keys)
        elif not self.module.check_mode:
            self.prove(want, want)

        for key in keys:
            if self.retires(key):
                key['status'] = 'Inactive'
            elif key['status'] == 'Active':
                key['kept'] = f"used within {self.params['unused_days']} days (unused_days)"
                warn(
                    f"Key {key['id']} of {key['user']} stays active: last used {key['last_used'] or 'never'}, made"
                    f" {key['created']}. Move who uses it to the role, or set unused_days lower."
                )
        self.module.exit_json(
            changed=diff['before'] != diff['after'],
            diff=diff,
            role=dict({name: want[name] for name in RIGHTS}, arn=self.arn),
            instances=after,
            elsewhere=elsewhere,
            proved=proved,
            keys=keys,
            **({'admin': admin} if admin else {}),
        )

    def picture(self, role, profile, instances, statuses, keys):
        """The binding as the diff shows it."""
        return {
            'role': {name: role[name] for name in RIGHTS} if role else None,
            'instance_profile': profile,
            'instances': instances,
            'keys': {f"{key['user']}/{key['id']}": statuses[key['id']] for key in keys},
        }

    # What is there

    def role(self):
        """The role's rights, or nothing where there is no such role."""
        role = self.aws.call('iam', 'get_role', RoleName=self.name, absent=NO_ENTITY)
        if role is None:
            return None
        self.arn = role['Role']['Arn']  # it may have a path
        attached = self.aws.call('iam', 'list_attached_role_policies', RoleName=self.name)['AttachedPolicies']
        inline = self.aws.call('iam', 'list_role_policies', RoleName=self.name)['PolicyNames']
        return {
            'trust': canonical(role['Role']['AssumeRolePolicyDocument']),
            'boundary': role['Role'].get('PermissionsBoundary', {}).get('PermissionsBoundaryArn'),
            'managed_policies': sorted(policy['PolicyArn'] for policy in attached),
            'inline_policies': {one: document for one in sorted(inline) if (document := self.inline(one))},
        }

    def inline(self, policy):
        found = self.aws.call('iam', 'get_role_policy', RoleName=self.name, PolicyName=policy, absent=NO_ENTITY)
        return found and canonical(found['PolicyDocument'])

    def document(self, arn):
        """The text of a managed policy's version in force, or nothing where there is none."""
        if arn not in self.documents:
            policy = self.aws.call('iam', 'get_policy', PolicyArn=arn, absent=NO_ENTITY)
            if policy is None:
                return None
            version = policy['Policy']['DefaultVersionId']
            found = self.aws.call('iam', 'get_policy_version', PolicyArn=arn, VersionId=version)
            self.documents[arn] = found['PolicyVersion']['Document']
        return self.documents[arn]

    def managed(self, policy):
        """The ARN of a managed policy that was given by name or ARN."""
        places = [f"arn:{self.caller['partition']}:iam::{one}:policy/" for one in (self.caller['account'], 'aws')]
        for arn in [policy] if policy.startswith('arn:') else [place + policy for place in places]:
            if self.document(arn) is not None:
                return arn
        return self.aws.fail(f'There is no managed policy {policy}: give the ARN of one that there is.')

    def profile(self):
        """The roles in the instance profile of this name, or nothing where there is no such profile."""
        found = self.aws.call('iam', 'get_instance_profile', InstanceProfileName=self.name, absent=NO_ENTITY)
        roles = [role['RoleName'] for role in found['InstanceProfile']['Roles']] if found else None
        if roles not in (None, [], [self.name]):
            self.aws.fail(f'The instance profile {self.name} has the role {roles[0]}: rename one of the two.')
        return roles

    def instances(self):
        """What of the instances named is ours to set, as it is now, and which others have the role."""
        if not self.params['instances'] and not self.params['instance_tags']:
            return {}, []
        found = {}
        for name in self.params['instances']:
            one = self.instance(name)
            found[one['InstanceId']] = one
        if self.params['instance_tags']:
            tags = [{'Name': f'tag:{tag}', 'Values': [str(text)]} for tag, text in self.params['instance_tags'].items()]
            found.update({one['InstanceId']: one for one in self.described(tags)})
        associations = self.associations()
        bound = {
            one: {
                'profile': _profile(associations.get(one)),
                'http_tokens': facts.get('MetadataOptions', {}).get('HttpTokens'),
                'hop_limit': facts.get('MetadataOptions', {}).get('HttpPutResponseHopLimit'),
                'http_endpoint': facts.get('MetadataOptions', {}).get('HttpEndpoint'),
            }
            for one, facts in sorted(found.items())
        }
        others = {one for one, association in associations.items() if _profile(association) == self.name}
        return bound, sorted(others - set(found))

    def instance(self, name):
        """The one instance of that id, address or name."""
        if re.fullmatch('i-[0-9a-f]+', name):
            kinds = ['instance-id']
        elif re.fullmatch(r'[\d.]+', name):
            kinds = ['private-ip-address', 'ip-address']
        else:
            kinds = ['tag:Name', 'private-dns-name', 'dns-name']
        for kind in kinds:
            found = self.described([{'Name': kind, 'Values': [name]}])
            if len(found) > 1:
                ids = ', '.join(sorted(one['InstanceId'] for one in found))
                self.aws.fail(f'{name} is the name of several instances ({ids}): give the id of the one that is meant.')
            if found:
                return found[0]
        return self.aws.fail(f'There is no instance {name} in {self.module.region}: give its id, or another region.')

    def described(self, filters):
        live = {'Name': 'instance-state-name', 'Values': LIVE_STATES}
        answer = self.aws.call('ec2', 'describe_instances', Filters=[*filters, live])
        return [one for reservation in answer['Reservations'] for one in reservation['Instances']]

    def associations(self):
        """The instance profiles of all instances, by instance. Descriptions of instances lag behind this."""
        states = [{'Name': 'state', 'Values': ['associating', 'associated']}]
        found = self.aws.call('ec2', 'describe_iam_instance_profile_associations', Filters=states)
        return {one['InstanceId']: one for one in found['IamInstanceProfileAssociations']}

    def keys(self):
        """The access keys of the users to retire, with their last use."""
        found = []
        for user in self.params['retire_keys']:
            if re.fullmatch(rf'arn:[\w-]+:iam::\d+:user/(.*/)?{re.escape(user)}', self.caller['arn']):
                self.aws.fail(f'{user} is who runs this, and would be left without a key: run it with a role.')
            listing = self.aws.call('iam', 'list_access_keys', UserName=user, absent=NO_ENTITY)
            for key in listing['AccessKeyMetadata'] if listing else []:
                facts = {'user': user, 'id': key['AccessKeyId'], 'status': key['Status']}
                facts['created'] = _day(key['CreateDate'])
                facts['last_used'] = self.last_used(key['AccessKeyId'])
                found.append(facts)
        return sorted(found, key=lambda key: (key['user'], key['id']))

    def last_used(self, key):
        used = self.aws.call('iam', 'get_access_key_last_used', AccessKeyId=key)['AccessKeyLastUsed']
        return _day(used.get('LastUsedDate'))

    def retires(self, key):
        """Whether this key is to be deactivated."""
        if key['status'] != 'Active':
            return False
        today = datetime.datetime.now(datetime.timezone.utc).date()
        last = datetime.date.fromisoformat(max(key['created'], key['last_used'] or ''))
        return (today - last).days >= self.params['unused_days']

    # What it shall be

    def wanted(self, before):
        """The role's rights as they are to be."""
        want = {
            'trust': self.checked('trust', self.params['trust'] or EC2_TRUST),
            'managed_policies': [self.managed(one) for one in self.params['managed_policies']],
            'inline_policies': {
                one: self.checked(f'inline policy {one}', document)
                for one, document in self.params['inline_policies'].items()
            },
            'boundary': self.params['boundary'],
        }
        if want['boundary'] is None:
            want['boundary'] = before and before['boundary']
        elif want['boundary']:
            want['boundary'] = self.managed(want['boundary'])
        want['boundary'] = want['boundary'] or None
        if before and not self.params['exclusive']:
            want['managed_policies'] += before['managed_policies']
            want['inline_policies'] = {**before['inline_policies'], **want['inline_policies']}
        want['managed_policies'] = sorted(set(want['managed_policies']))
        want['inline_policies'] = dict(sorted(want['inline_policies'].items()))
        return want

    def checked(self, what, document):
        try:
            return canonical(document)
        except ValueError as exc:
            return self.aws.fail(f'{what} {exc}.')

    def judge(self, want):
        """Refuse an administrator's rights, or tell which were let through and why."""
        reasons = [f'trust {one}' for one in trusting(want['trust'], self.caller['account'])]
        for name, document in want['inline_policies'].items():
            reasons += [f'inline policy {name} {one}' for one in administrator(document)]
        for arn in want['managed_policies']:
            reasons += [f'{arn} {one}' for one in administrator(self.document(arn))]
        if not reasons:
            return None
        why = (self.params['allow_admin_reason'] or '').strip()
        if not self.params['allow_admin'] or not why:
            self.aws.fail(f'Refused: {"; ".join(reasons)}. Narrow that, or set allow_admin and allow_admin_reason.')
        return {'reason': why, 'rights': reasons}

    # Proof

    def simulate(self, want):
        """Show by simulation that the rights to be left with are enough."""
        policies = [*want['inline_policies'].values(), *map(self.document, want['managed_policies'])] or [NOTHING]
        texts = {'PolicyInputList': [json.dumps(policy) for policy in policies]}
        if want['boundary']:
            texts['PermissionsBoundaryPolicyInputList'] = [json.dumps(self.document(want['boundary']))]
        wrong, proved = [], []
        for question in self.questions():
            for result in self.aws.call('iam', 'simulate_custom_policy', **texts, **question)['EvaluationResults']:
                if result['EvalDecision'] != 'allowed':
                    wrong.append(_asked(result, question))
                proved.append({'action': result['EvalActionName'], 'resource': question['ResourceArns'][0]})
        if wrong:
            self.aws.fail(f'With these rights the role could not do what prove lists: {", ".join(wrong)}.')
        return proved

    def questions(self):
        """What prove lists, as parameters of the simulation: a resource at a time, for one answer to each."""
        for one in self.params['prove']:
            context = [
                {
                    'ContextKeyName': name,
                    'ContextKeyValues': [str(value).lower() if isinstance(value, bool) else str(value)],
                    'ContextKeyType': 'boolean' if isinstance(value, bool) else 'string',
                }
                for name, value in one['context'].items()
            ]
            for resource in one['resources']:
                yield {'ActionNames': one['actions'], 'ResourceArns': [resource], 'ContextEntries': context}

    def prove(self, want, granted):
        """Show that the role itself can, as it is now. What is still to be revoked or bounded anew does not count."""
        for question in self.questions():
            for pause in (2, 4, 8, 0):  # what was granted a moment ago is not yet seen everywhere
                answer = self.aws.call('iam', 'simulate_principal_policy', PolicySourceArn=self.arn, **question)
                denied = [(_asked(one, question), _denied(one, want, granted)) for one in answer['EvaluationResults']]
                denied = [(what, why) for what, why in denied if why]
                if {why for _what, why in denied} != {'implicitDeny'}:
                    break
                time.sleep(pause)
            if denied:
                what = ', '.join(f'{what} ({why})' for what, why in denied)
                self.aws.fail(f'The role cannot do what prove lists: {what}. It keeps what it had.')

    # The way there

    def grant(self, before, want):
        """Give what is missing and take nothing; returns the rights that the role has then."""
        name = {'RoleName': self.name}
        if before is None:
            bounds = {'PermissionsBoundary': want['boundary']} if want['boundary'] else {}
            before = dict(want, managed_policies=[], inline_policies={})
            self.aws.write(
                f'role {self.name} made', 'iam', 'create_role', **name, **bounds,
                AssumeRolePolicyDocument=json.dumps(want['trust']),
            )
        granted = dict(before, inline_policies=dict(before['inline_policies']))
        if before['trust'] != want['trust']:
            granted['trust'] = _both(before['trust'], want['trust'])
            if self.trust(granted['trust'], absent=('MalformedPolicyDocument',)) is None:
                granted['trust'] = want['trust']  # the old one trusts somebody whom there is no more
                self.trust(want['trust'])
        for arn in sorted(set(want['managed_policies']) - set(before['managed_policies'])):
            self.aws.write(f'{arn} attached', 'iam', 'attach_role_policy', **name, PolicyArn=arn, again=NO_ENTITY)
        granted['managed_policies'] = sorted({*before['managed_policies'], *want['managed_policies']})
        for policy, document in want['inline_policies'].items():
            old = before['inline_policies'].get(policy)
            if old == document:
                continue
            granted['inline_policies'][policy] = _both(old, document) if old else document
            if self.put(policy, granted['inline_policies'][policy], absent=('LimitExceeded',) if old else ()) is None:
                granted['inline_policies'][policy] = old  # both together are too long: it waits until the proof
        return granted

    def trust(self, document, absent=()):
        return self.aws.write(
            'trust set', 'iam', 'update_assume_role_policy', RoleName=self.name, PolicyDocument=json.dumps(document),
            absent=absent,
        )

    def put(self, policy, document, absent=()):
        return self.aws.write(
            f'inline policy {policy} set', 'iam', 'put_role_policy', RoleName=self.name, PolicyName=policy,
            PolicyDocument=json.dumps(document), again=NO_ENTITY, absent=absent,
        )

    def attach(self, profile, ec2, bound, after):
        """The instance profile, its instances, and what they ask of whoever wants the role's credentials."""
        name = {'InstanceProfileName': self.name}
        if ec2 and profile is None:
            self.aws.write(f'instance profile {self.name} made', 'iam', 'create_instance_profile', **name)
        if ec2 and not profile:
            self.aws.write(
                'role put into its instance profile', 'iam', 'add_role_to_instance_profile', **name,
                RoleName=self.name, again=NO_ENTITY,
            )
        associations = self.associations() if bound else {}
        for one in bound:
            old = associations.get(one)
            if _profile(old) != self.name:
                wanted = {'IamInstanceProfile': {'Name': self.name}, 'again': ['InvalidParameterValue']}
                if old:
                    self.aws.write(
                        f'{one} got the role in place of {_profile(old)}', 'ec2',
                        'replace_iam_instance_profile_association', AssociationId=old['AssociationId'], **wanted,
                    )
                else:
                    self.aws.write(
                        f'{one} got the role', 'ec2', 'associate_iam_instance_profile', InstanceId=one, **wanted
                    )
            if {**bound[one], 'profile': None} != {**after[one], 'profile': None}:
                self.aws.write(
                    f'metadata service of {one} set', 'ec2', 'modify_instance_metadata_options', InstanceId=one,
                    HttpTokens='required', HttpEndpoint='enabled',
                    HttpPutResponseHopLimit=self.params['metadata_hop_limit'],
                )

    def revoke(self, granted, want):
        """Take what the role has and is not to have; not what somebody else changed meanwhile."""
        name = {'RoleName': self.name}
        gone = [one for one in granted['inline_policies'] if one not in want['inline_policies']]
        for policy in gone:
            now = self.inline(policy)
            if now not in (None, granted['inline_policies'][policy]):
                self.aws.fail(f'Somebody else changed the inline policy {policy} meanwhile: look at it and run again.')
        for arn in sorted(set(granted['managed_policies']) - set(want['managed_policies'])):
            self.aws.write(f'{arn} detached', 'iam', 'detach_role_policy', **name, PolicyArn=arn, absent=NO_ENTITY)
        for policy in gone:
            self.aws.write(
                f'inline policy {policy} deleted', 'iam', 'delete_role_policy', **name, PolicyName=policy,
                absent=NO_ENTITY,
            )
        for policy, document in want['inline_policies'].items():
            if granted['inline_policies'][policy] != document:
                self.put(policy, document)
        if granted['trust'] != want['trust']:
            self.trust(want['trust'])
        if granted['boundary'] != want['boundary']:
            if want['boundary']:
                self.aws.write(
                    'boundary set', 'iam', 'put_role_permissions_boundary', **name, PermissionsBoundary=want['boundary']
                )
            else:
                self.aws.write('boundary taken away', 'iam', 'delete_role_permissions_boundary', **name)

    def deactivate(self, keys):
        """The static keys last, and each only if it was not used meanwhile."""
        for key in keys:
            if not self.retires(key):
                continue
            key['last_used'] = self.last_used(key['id'])
            if self.retires(key):
                self.aws.write(
                    f"key {key['id']} of {key['user']} deactivated", 'iam', 'update_access_key',
                    UserName=key['user'], AccessKeyId=key['id'], Status='Inactive',
                )


def _day(moment):
    return moment and moment.astimezone(datetime.timezone.utc).date().isoformat()


def _profile(association):
    return association and association['IamInstanceProfile']['Arn'].split('/')[-1]


def _both(old, new):
    """A policy that allows what either does."""
    statements = [*listed(new['Statement']), *listed(old['Statement'])]
    statements = [{key: value for key, value in one.items() if key != 'Sid'} for one in statements]
    return canonical({
        'Version': '2012-10-17',
        'Statement': [one for index, one in enumerate(statements) if one not in statements[:index]],
    })


def _asked(result, question):
    return f"{result['EvalActionName']} on {question['ResourceArns'][0]}"


def _denied(result, want, granted):
    """What denies in an answer about the role as it is, if that does not come from what is still to go."""
    if not result.get('OrganizationsDecisionDetail', {}).get('AllowedByOrganizations', True):
        return 'a service control policy of the organization'
    bounded = not result.get('PermissionsBoundaryDecisionDetail', {}).get('AllowedByPermissionsBoundary', True)
    if result['EvalDecision'] == 'allowed' or bounded and granted['boundary'] != want['boundary']:
        return None
    leaving = any(granted[name] != want[name] for name in ('managed_policies', 'inline_policies'))
    return None if result['EvalDecision'] == 'explicitDeny' and leaving else result['EvalDecision']


if __name__ == '__main__':
    main()
