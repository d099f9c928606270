#!/usr/bin/python
# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r'''
module: gcp_role_binding
short_description: Service accounts of instances with exactly the roles that are listed
version_added: "0.2.0"
author: The rampart authors (@rampart-hardening)
description:
  - Gives instances a service account, and that account exactly the roles that are listed, in the project and on service
    accounts. Whatever else it has there goes away. Bindings of others are never touched, whoever writes meanwhile.
  - What has to be proved is looked at before anything is written. Then it grants, attaches, proves, and only then
    revokes and disables keys. Where the second proof fails, what was granted before stays.
  - Refuses roles with which somebody could give himself more, and members who are everybody.
  - Instances get the scope C(cloud-platform), so that roles alone decide, and lose the legacy metadata endpoints.
options:
  name:
    description: The service account, by id or e-mail address. One of the project that does not exist is made.
    type: str
    required: true
  instances:
    description:
      - Instances by name, which may be their names in the inventory, or as V(ZONE/NAME).
    type: list
    elements: str
    default: []
  instance_labels:
    description: Labels and their values. Instances that have all of them are added to O(instances).
    type: dict
    default: {}
  restart:
    description: >-
      Whether running instances are stopped and started where they need another service account or scope, which Google
      changes in stopped ones alone. What they have on local SSDs is lost, and an ephemeral address becomes another one.
      Otherwise such instances are refused before anything is written.
    type: bool
    default: false
  bindings:
    description: What the service account may do, all of it.
    type: list
    elements: dict
    required: true
    suboptions:
      role:
        description: The role by its name, as V(roles/logging.logWriter) or V(projects/PROJECT/roles/ID).
        type: str
        required: true
      service_account:
        description: The e-mail address of a service account on which the role is granted, instead of the project.
        type: str
      condition:
        description: When it holds.
        type: dict
        suboptions:
          title:
            description: What the condition is called.
            type: str
            required: true
          expression:
            description: The condition in Google's language for them, CEL.
            type: str
            required: true
          description:
            description: What it is for.
            type: str
  trust:
    description:
      - Who may use the service account, all of it. Left alone unless set.
    type: list
    elements: dict
    suboptions:
      role:
        description: The role by its name, as V(roles/iam.serviceAccountUser).
        type: str
        required: true
      member:
        description: Who has it, as V(group:ops@example.com).
        type: str
        required: true
      condition:
        description: When it holds.
        type: dict
        suboptions:
          title:
            description: What the condition is called.
            type: str
            required: true
          expression:
            description: The condition in Google's language for them, CEL.
            type: str
            required: true
          description:
            description: What it is for.
            type: str
  exclusive:
    description: >-
      Whether other roles of the service account, in the project and on its service accounts, are revoked, and with
      O(trust) those of others on it. Otherwise they are reported as RV(kept).
    type: bool
    default: true
  allow_admin:
    description: >-
      Whether roles are taken that change who may do what or that become every service account of the project, and
      members who are everybody. Roles are judged by the permissions in them, whatever their name.
    type: bool
    default: false
  allow_admin_reason:
    description: Why. It is in the result.
    type: str
  prove:
    description:
      - What the service account must be able to do with what is left after revoking.
      - This is what Google's Policy Troubleshooter says of it, which knows policies above the project and deny policies
        if the identity that runs Ansible may see them. What hangs on a condition counts, and RV(proved) says so.
    type: list
    elements: dict
    default: []
    suboptions:
      permissions:
        description: Permissions, as V(storage.objects.get).
        type: list
        elements: str
        required: true
      resources:
        description:
          - The full names of resources on which it must have each of them, as
            V(//storage.googleapis.com/projects/_/buckets/NAME). The project unless set.
        type: list
        elements: str
        default: []
  retire_keys:
    description: Service accounts, by id or e-mail address, of which all user-managed keys are disabled, never deleted.
    type: list
    elements: str
    default: []
  unused_days:
    description: >-
      Keys that were used within so many days are not disabled but reported, and so are younger ones of whose use Google
      does not know. V(0) disables them all.
    type: int
    default: 90
extends_documentation_fragment:
  - rampart.hardening.gcp
attributes:
  check_mode:
    description: Can run in check mode and predicts exactly what a run then changes.
    support: full
  diff_mode:
    description: Returns bindings, instances and keys before and after.
    support: full
'''

EXAMPLES = r'''
- name: Database machines write logs and nothing else
  rampart.hardening.gcp_role_binding:
    project: example-production
    name: db
    instances: "{{ groups['db'] }}"
    restart: true
    bindings:
      - role: roles/logging.logWriter
    prove:
      - permissions: [logging.logEntries.create]
    retire_keys: [db]
  delegate_to: localhost
  run_once: true
'''

RETURN = r'''
service_account:
  description: The e-mail address of the service account.
  returned: success
  type: str
done:
  description: What was changed, or in check mode would be, in order. After a failure it is what was changed before.
  returned: always
  type: list
  elements: str
kept:
  description: Bindings that are not listed and stay, as O(exclusive=false).
  returned: success
  type: list
  elements: dict
elsewhere:
  description: Other instances that have the service account, where instances were named.
  returned: success
  type: list
  elements: str
proved:
  description: >-
    What was proved, each with C(permission), C(resource), C(role), C(conditional), and C(complete), which is false
    where policies above the project were out of sight.
  returned: success
  type: list
  elements: dict
keys:
  description: >-
    The keys of O(retire_keys), each with C(service_account), C(id), C(status), C(created), C(last_used) and C(kept),
    which says why an enabled key stays.
  returned: success
  type: list
  elements: dict
missing_permission:
  description: The permission that the credentials lack.
  returned: when a call was denied
  type: str
admin:
  description: Why administrator-like bindings were taken, and which they are.
  returned: when there are any
  type: dict
'''

import copy
import datetime
import json
import random
import re
import time
import traceback
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rampart.hardening.plugins.module_utils.cloud_gcp import GCP_ARGS, SCOPE, Gcp, GcpError

TRIES = 6
BASIC = {'roles/owner', 'roles/editor', 'roles/admin', 'roles/writer'}
EVERYBODY = {'allusers', 'allauthenticatedusers'}
# What makes an administrator on one service account, and what does so in a project, where it holds for all of them
ADMIN = {'iam.serviceAccounts.setIamPolicy', 'iam.serviceAccountKeys.create'}
ADMIN_OF_PROJECT = ADMIN | {
    'iam.denypolicies.delete',
    'iam.denypolicies.update',
    'iam.roles.create',
    'iam.roles.update',
    'iam.serviceAccounts.actAs',
    'iam.serviceAccounts.getAccessToken',
    'iam.serviceAccounts.getOpenIdToken',
    'iam.serviceAccounts.implicitDelegation',
    'iam.serviceAccounts.signBlob',
    'iam.serviceAccounts.signJwt',
    'iam.workloadIdentityPoolProviders.create',
    'iam.workloadIdentityPoolProviders.update',
    'orgpolicy.policy.set',
    'resourcemanager.projects.setIamPolicy',
}


class Refusal(Exception):
    """What stands against it, and what to do about it."""


class Entry(t.NamedTuple):
    """One member of one binding. *place* is a service account's e-mail address, or nothing for the project."""

    place: str
    member: str
    role: str
    condition: tuple  # title, expression, description; or nothing


class Plan(t.NamedTuple):
    """What has to be done to bindings."""

    create: list
    remove: list
    kept: list


def as_condition(given):
    """A condition as it is compared."""
    if not given:
        return ()
    return given.get('title') or '', (given.get('expression') or '').strip(), given.get('description') or ''


def entries(place, policy):
    """Every member of every binding of a policy."""
    return [
        Entry(place, member, binding['role'], as_condition(binding.get('condition')))
        for binding in policy.get('bindings', []) for member in binding.get('members', [])]


def edited(policy, add, remove):
    """A policy with some entries more and some less, and everything else as it is."""
    policy = copy.deepcopy(policy)
    bindings = policy.setdefault('bindings', [])
    for entry in remove:
        for binding in bindings:
            if (binding['role'], as_condition(binding.get('condition'))) == (entry.role, entry.condition):
                binding['members'] = [one for one in binding['members'] if one != entry.member]
    for entry in add:
        if entry in entries(entry.place, policy):
            continue
        same = [
            one for one in bindings
            if (one['role'], as_condition(one.get('condition'))) == (entry.role, entry.condition)]
        if same:
            same[0]['members'].append(entry.member)
        else:
            bindings.append(dict(role=entry.role, members=[entry.member]))
            if entry.condition:
                title, expression, description = entry.condition
                bindings[-1]['condition'] = dict(title=title, expression=expression)
                if description:
                    bindings[-1]['condition']['description'] = description
    policy['bindings'] = [binding for binding in bindings if binding['members']]
    policy['version'] = 3
    return policy


class Binding:
    """One run of the module."""

    def __init__(self, module):
        self.module = module
        self.params = module.params
        self.project = module.params['project']
        self.gcp = Gcp(module)
        self.email = self.address(module.params['name'])
        self.member = 'serviceAccount:' + self.email
        self.roles = {}
        self.done = []
        self.every = []
        self.activities = None
        self.again = {409, 412}  # answers after which a policy is read and written once more

    def run(self):
        """Look, refuse, plan; then grant, attach, prove, revoke and disable, in that order."""
        wanted = self.wanted()
        admin = self.refuse_admin(wanted)
        instances = self.find_instances()
        is_there = self.is_there()
        keys = [
            key for email in map(self.address, self.params['retire_keys']) if is_there or email != self.email
            for key in self.keys(email)]
        existing, plan = self.plan(wanted, is_there)
        proved = self.prove_all(is_there, plan, True)

        if not is_there:
            self.do(f'made the service account {self.email}', self.make)
        for place, those in by_place(plan.create):
            self.do('granted ' + self.say(those), self.update, place, those, [])
        for instance in instances:
            self.attach(instance)
        if not self.module.check_mode:
            proved = self.prove_all(True, plan, False)
        for place, those in by_place(plan.remove):
            self.do('revoked ' + self.say(those), self.update, place, [], those)
        for key in keys:
            if key['status'] == 'disabled' and not key['was_disabled']:
                self.do(f'disabled key {key["id"]} of {key["service_account"]}', self.disable, key)

        after = [one for one in existing if one not in plan.remove] + plan.create
        result = dict(
            changed=bool(self.done), done=self.done, service_account=self.email, proved=proved,
            elsewhere=sorted(
                label(one) for one in self.every
                if one not in instances and described(one)['service_account'] == self.email),
            kept=listed(plan.kept), keys=[{name: key[name] for name in key if name != 'was_disabled'} for key in keys],
            diff=dict(
                before=dict(
                    bindings=listed(existing), instances={label(one): described(one) for one in instances},
                    keys={key['id']: 'disabled' if key['was_disabled'] else 'enabled' for key in keys}),
                after=dict(
                    bindings=listed(after), instances={label(one): self.wish() for one in instances},
                    keys={key['id']: key['status'] for key in keys})))
        if admin:
            result['admin'] = dict(reason=self.params['allow_admin_reason'], bindings=admin)
        return result

    def do(self, sentence, function, *args, **more):
        """Do it, unless in check mode, and say so."""
        if not self.module.check_mode:
            function(*args, **more)
        self.done.append(sentence)

    def say(self, those):
        """Entries of one place as the end of a sentence."""
        words = [one.role + (f' where {one.condition[1]}' if one.condition else '') for one in those]
        if {one.member for one in those} == {self.member}:
            return f'{", ".join(words)} on {those[0].place or "the project"} to {self.email}'
        words = [f'{role} to {one.member}' for role, one in zip(words, those)]
        return f'{", ".join(words)} on {those[0].place or "the project"}'

    def address(self, name):
        """The e-mail address of a service account."""
        return name if '@' in name else f'{name}@{self.project}.iam.gserviceaccount.com'

    # --- what there is

    @property
    def accounts(self):
        """The service accounts of IAM."""
        return self.gcp.service('iam', 'v1').projects().serviceAccounts()

    def is_there(self):
        """Whether the service account exists."""
        try:
            self.gcp.call(
                self.accounts.get(name=f'projects/{self.project}/serviceAccounts/{self.email}'),
                'iam.serviceAccounts.get', self.email)
        except GcpError as exc:
            if exc.status != 404 or not self.email.endswith(f'@{self.project}.iam.gserviceaccount.com'):
                raise
            return False
        return True

    def wanted(self):
        """The entries that there are to be."""
        found = [
            Entry(one['service_account'] or '', self.member, one['role'], as_condition(one['condition']))
            for one in self.params['bindings']]
        found += [
            Entry(self.email, one['member'], one['role'], as_condition(one['condition']))
            for one in self.params['trust'] or []]
        return list(dict.fromkeys(found))

    def permissions(self, role):
        """The permissions in a role."""
        if role not in self.roles:
            iam = self.gcp.service('iam', 'v1')
            kind = role.split('/')[0]
            if kind not in ('roles', 'projects', 'organizations') or not re.search('(^|/)roles/[^/]+$', role):
                raise Refusal(f'a role is called roles/… or projects/…/roles/…, which {role} is not')
            where = iam.roles() if kind == 'roles' else getattr(iam, kind)().roles()
            try:
                answer = self.gcp.call(where.get(name=role), 'iam.roles.get', role)
            except GcpError as exc:
                if exc.status == 404:
                    raise Refusal(f'there is no role {role}') from exc
                raise
            self.roles[role] = set(answer.get('includedPermissions', []))
        return self.roles[role]

    def refuse_admin(self, wanted):
        """Refuse administrators' roles and everybody, or return them where they are allowed."""
        found = []
        for one in wanted:
            if one.member.lower() in EVERYBODY:
                found.append((one, f'{one.member} is everybody'))
                continue
            contained = self.permissions(one.role) & (ADMIN if one.place else ADMIN_OF_PROJECT)
            if one.role in BASIC or contained:
                found.append((one, f'{one.role} lets its holder do {min(contained, default="nearly everything")}'))
        if found and not self.params['allow_admin']:
            one, why = min(found)
            raise Refusal(
                f'{why}, which is as good as everything on {one.place or "the project"}: take a narrower one, or set '
                f'allow_admin and allow_admin_reason')
        return listed([one for one, why in found])

    def find_instances(self):
        """The instances that are named, sorted, and none that would have to be restarted against our orders."""
        names, labels = self.params['instances'], self.params['instance_labels']
        if not names and not labels:
            return []
        self.every = every = [
            one
            for page in self.gcp.pages(
                self.gcp.service('compute', 'v1').instances(), 'compute.instances.list', f'project {self.project}',
                'aggregatedList', project=self.project)
            for zone in page.get('items', {}).values() for one in zone.get('instances', [])]
        found = {}
        for name in names:
            those = [one for one in every if name in (one['name'], label(one))]
            if len(those) != 1:
                raise Refusal(
                    f'{name} is the name of {len(those)} instances in project {self.project}'
                    + (f', say which: {", ".join(sorted(map(label, those)))}' if those else ''))
            found[label(those[0])] = those[0]
        labelled = [
            one for one in every
            if labels and all(one.get('labels', {}).get(key) == str(value) for key, value in labels.items())]
        if labels and not labelled:
            raise Refusal(f'no instance in project {self.project} has the labels {json.dumps(labels)}')
        found.update((label(one), one) for one in labelled)
        for name, one in sorted(found.items()):
            if self.has_account(one) or one['status'] == 'TERMINATED':
                continue
            if one['status'] != 'RUNNING' or not self.params['restart']:
                raise Refusal(
                    f'{name} is {one["status"]} and has to be stopped to get another service account: stop it, or set '
                    f'restart')
        return [found[key] for key in sorted(found)]

    # --- policies

    def policy(self, place):
        """The policy of the project or of a service account."""
        if place:
            return self.gcp.call(
                self.accounts.getIamPolicy(
                    resource=f'projects/-/serviceAccounts/{place}', options_requestedPolicyVersion=3),
                'iam.serviceAccounts.getIamPolicy', place)
        projects = self.gcp.service('cloudresourcemanager', 'v3').projects()
        return self.gcp.call(
            projects.getIamPolicy(
                resource=f'projects/{self.project}', body=dict(options=dict(requestedPolicyVersion=3))),
            'resourcemanager.projects.getIamPolicy', f'project {self.project}')

    def update(self, place, add, remove):
        """Read, change and write a policy, again and again while somebody else writes in between."""
        for turn in range(TRIES):
            try:
                old = self.policy(place)
                new = edited(old, add, remove)
                if new['bindings'] == old.get('bindings', []):
                    return
                if place:
                    self.gcp.call(
                        self.accounts.setIamPolicy(
                            resource=f'projects/-/serviceAccounts/{place}', body=dict(policy=new)),
                        'iam.serviceAccounts.setIamPolicy', place)
                else:
                    projects = self.gcp.service('cloudresourcemanager', 'v3').projects()
                    self.gcp.call(
                        projects.setIamPolicy(resource=f'projects/{self.project}', body=dict(policy=new)),
                        'resourcemanager.projects.setIamPolicy', f'project {self.project}')
                return
            except GcpError as exc:
                if exc.status not in self.again or turn == TRIES - 1:
                    raise
            time.sleep(random.uniform(0.1, 0.4) * 2 ** turn)  # noqa: S311 - so that two who collide do not do so again

    def plan(self, wanted, is_there):
        """What there is of our entries, and what has to be done to it."""
        places = {''} | {one.place for one in wanted}
        if self.params['exclusive']:
            for page in self.gcp.pages(
                    self.accounts, 'iam.serviceAccounts.list', f'project {self.project}',
                    name=f'projects/{self.project}'):
                places |= {one['email'] for one in page.get('accounts', [])}
        if not is_there:
            places -= {self.email}
        existing = []
        for place in sorted(places):
            all_of_it = place == self.email and self.params['trust'] is not None
            existing += [
                one for one in entries(place, self.policy(place)) if all_of_it or one.member == self.member]
        rest = [one for one in existing if one not in wanted]
        return existing, Plan(
            create=[one for one in wanted if one not in existing],
            remove=rest if self.params['exclusive'] else [],
            kept=[] if self.params['exclusive'] else rest)

    # --- what is done

    def make(self):
        """Make the service account."""
        self.gcp.call(
            self.accounts.create(name=f'projects/{self.project}', body=dict(accountId=self.email.split('@')[0])),
            'iam.serviceAccounts.create', f'project {self.project}')
        self.again |= {400, 404}  # it takes some seconds until every part of Google knows it

    def wish(self):
        """What an instance is to be like, as `described` tells it."""
        return dict(service_account=self.email, scopes=[SCOPE], legacy_endpoints=False)

    def has_account(self, instance):
        """Whether an instance has the service account and the scope."""
        now = described(instance)
        return now['service_account'] == self.email and now['scopes'] == [SCOPE]

    def attach(self, instance):
        """Give an instance the service account, and take the legacy metadata endpoints from it."""
        name = label(instance)
        if not self.has_account(instance):
            running = instance['status'] == 'RUNNING'
            if running:
                self.do(f'stopped {name}', self.operate, instance, 'stop')
            try:
                self.do(
                    f'attached {self.email} to {name}', self.operate, instance, 'setServiceAccount',
                    body=dict(email=self.email, scopes=[SCOPE]))
            finally:
                if running:
                    self.do(f'started {name}', self.operate, instance, 'start')
        if described(instance)['legacy_endpoints']:
            self.do(f'turned the legacy metadata endpoints of {name} off', self.set_metadata, instance)

    def operate(self, instance, method, **args):
        """Call a method of an instance, and wait until it is done."""
        compute = self.gcp.service('compute', 'v1')
        place = dict(project=self.project, zone=zone_of(instance))
        operation = self.gcp.call(
            getattr(compute.instances(), method)(instance=instance['name'], **place, **args),
            f'compute.instances.{method}', label(instance))
        while operation['status'] != 'DONE':
            operation = self.gcp.call(
                compute.zoneOperations().wait(operation=operation['name'], **place), 'compute.zoneOperations.get',
                f'project {self.project}')
        for error in operation.get('error', {}).get('errors', []):
            raise GcpError(f'{error["code"]} for {method} of {label(instance)}: {error.get("message", "")}')

    def set_metadata(self, instance):
        """Turn the legacy endpoints off and leave what else is in the metadata, whoever writes it meanwhile."""
        instances = self.gcp.service('compute', 'v1').instances()
        for turn in range(TRIES):
            fresh = self.gcp.call(
                instances.get(project=self.project, zone=zone_of(instance), instance=instance['name']),
                'compute.instances.get', label(instance))
            metadata = fresh.get('metadata', {})
            items = [one for one in metadata.get('items', []) if one['key'] != 'disable-legacy-endpoints']
            items.append(dict(key='disable-legacy-endpoints', value='true'))
            try:
                return self.operate(instance, 'setMetadata', body=dict(
                    {key: metadata[key] for key in metadata if key == 'fingerprint'}, items=items))
            except GcpError as exc:
                if exc.status not in (409, 412) or turn == TRIES - 1:
                    raise
        return None

    # --- the proof

    def prove_all(self, is_there, plan, ahead):
        """Every permission on every resource that is listed."""
        project = f'//cloudresourcemanager.googleapis.com/projects/{self.project}'
        return [
            self.prove(permission, resource, is_there, plan, ahead)
            for one in self.params['prove'] for permission in one['permissions']
            for resource in one['resources'] or [project]]

    def prove(self, permission, resource, is_there, plan, ahead):
        """What lets the service account do this once *plan* is through; *ahead* counts what is not granted yet."""
        proof = dict(permission=permission, resource=resource, conditional=False, complete=True)
        if ahead:
            lets = sorted(
                (bool(entry.condition), entry.role) for entry in plan.create
                if entry.member == self.member and permission in self.permissions(entry.role)
                and (not entry.place or resource.endswith(f'/serviceAccounts/{entry.place}')))
            if lets:
                return dict(proof, role=lets[0][1], conditional=lets[0][0])
            if not is_there:
                raise self.unproven(permission, resource)
        answer = self.gcp.call(
            self.gcp.service('policytroubleshooter', 'v3').iam().troubleshoot(body=dict(accessTuple=dict(
                principal=self.email, fullResourceName=resource, permission=permission))),
            'to use the Policy Troubleshooter', f'project {self.project}')
        overall = answer.get('overallAccessState')
        denied = answer.get('denyPolicyExplanation', {}).get('denyAccessState') == 'DENY_ACCESS_STATE_DENIED'
        if denied:
            raise Refusal(
                f'{self.email} could not do {permission} on {resource}: a deny policy forbids it; nothing was revoked')
        gone = {(entry.place, entry.member, entry.role, entry.condition) for entry in plan.remove}
        lets = []
        for policy in answer.get('allowPolicyExplanation', {}).get('explainedPolicies', []):
            name = policy.get('fullResourceName', '')
            place = name.rsplit('/', 1)[-1] if '/serviceAccounts/' in name else ''
            ours = place or name.startswith('//cloudresourcemanager.googleapis.com/projects/')
            for binding in policy.get('bindingExplanations', []):
                state = binding.get('allowAccessState', '').replace('ALLOW_ACCESS_STATE_', '')
                if state not in ('GRANTED', 'UNKNOWN_CONDITIONAL'):
                    continue
                members = [
                    member for member, found in binding.get('memberships', {}).items()
                    if found.get('membership') == 'MEMBERSHIP_MATCHED']
                condition = as_condition(binding.get('condition'))
                if not ours or any((place, member, binding['role'], condition) not in gone for member in members):
                    lets.append((bool(condition), binding['role']))
        if not lets or overall == 'CANNOT_ACCESS':
            raise self.unproven(permission, resource)
        conditional, role = min(lets)
        return dict(proof, role=role, conditional=conditional, complete=overall != 'UNKNOWN_INFO')

    def unproven(self, permission, resource):
        """The refusal of a proof that failed."""
        return Refusal(
            f'{self.email} could not do {permission} on {resource} with what is left to it: grant a role that has it; '
            f'nothing was revoked')

    # --- keys

    def keys(self, email):
        """The user-managed keys of a service account, and what becomes of each."""
        answer = self.gcp.call(
            self.accounts.keys().list(
                name=f'projects/{self.project}/serviceAccounts/{email}', keyTypes='USER_MANAGED'),
            'iam.serviceAccountKeys.list', email)
        found = []
        for key in sorted(answer.get('keys', []), key=lambda one: one['name']):
            known = dict(
                service_account=email, id=key['name'].rsplit('/', 1)[-1], created=key.get('validAfterTime'),
                last_used=None, status='disabled', kept=None, was_disabled=bool(key.get('disabled')))
            if not known['was_disabled']:
                known['kept'] = self.keep(known)
                known['status'] = 'enabled' if known['kept'] else 'disabled'
            found.append(known)
        return found

    def keep(self, key):
        """Why a key stays enabled, or None. Its last use is noted on the way."""
        key['last_used'], since = self.last_used(key['id'])
        if not self.params['unused_days']:
            return None
        limit = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=self.params['unused_days'])
        if key['last_used']:
            return f'used on {key["last_used"][:10]}' if moment(key['last_used']) > limit else None
        was_watched = since and moment(since) <= limit
        if not was_watched and key['created'] and moment(key['created']) > limit:
            return f'made on {key["created"][:10]}, and nothing known of its use'
        return None

    def last_used(self, key):
        """When Google saw a key last, and since when it has looked, as far as it tells."""
        if self.activities is None:
            self.activities = {}
            activities = self.gcp.service('policyanalyzer', 'v1').projects().locations().activityTypes().activities()
            try:
                for page in self.gcp.pages(
                        activities, 'policyanalyzer.serviceAccountKeyLastAuthenticationActivities.query',
                        f'project {self.project}', 'query', pageSize=1000,
                        parent=(
                            f'projects/{self.project}/locations/global/activityTypes/'
                            'serviceAccountKeyLastAuthentication')):
                    for one in page.get('activities', []):
                        self.activities[one['fullResourceName'].rsplit('/', 1)[-1]] = (
                            one.get('activity', {}).get('lastAuthenticatedTime'),
                            one.get('observationPeriod', {}).get('startTime'))
            except GcpError as exc:
                if exc.status != 403:
                    raise
                self.module.warn(f'keys are judged by their age alone, as their last use is out of reach: {exc}')
        return self.activities.get(key, (None, None))

    def disable(self, key):
        """Disable a key."""
        name = f'projects/{self.project}/serviceAccounts/{key["service_account"]}/keys/{key["id"]}'
        self.gcp.call(
            self.accounts.keys().disable(name=name, body={}), 'iam.serviceAccountKeys.disable', key['service_account'])


def by_place(those):
    """Entries by their places, sorted."""
    places = {}
    for one in sorted(those):
        places.setdefault(one.place, []).append(one)
    return sorted(places.items())


def listed(those):
    """Entries, sorted, for people."""
    return [
        dict(
            on=one.place or 'project', member=one.member, role=one.role,
            condition=dict(zip(('title', 'expression', 'description'), one.condition)) or None)
        for one in sorted(those)]


def zone_of(instance):
    """The zone of an instance."""
    return instance['zone'].rsplit('/', 1)[-1]


def label(instance):
    """An instance as people call it: zone and name."""
    return f'{zone_of(instance)}/{instance["name"]}'


def described(instance):
    """What counts of an instance."""
    account = (instance.get('serviceAccounts') or [{}])[0]
    metadata = {one['key']: one.get('value', '') for one in instance.get('metadata', {}).get('items', [])}
    return dict(
        service_account=account.get('email'), scopes=sorted(account.get('scopes', [])),
        legacy_endpoints=metadata.get('disable-legacy-endpoints', '').lower() not in ('true', '1', 'y', 'yes'))


def moment(stamp):
    """A time as Google writes it."""
    return datetime.datetime.strptime(stamp[:19] + '+0000', '%Y-%m-%dT%H:%M:%S%z')


def main():
    condition = dict(type='dict', options=dict(
        title=dict(type='str', required=True), expression=dict(type='str', required=True),
        description=dict(type='str')))
    role = dict(type='str', required=True)
    module = AnsibleModule(
        argument_spec=dict(
            GCP_ARGS,
            name=dict(type='str', required=True),
            instances=dict(type='list', elements='str', default=[]),
            instance_labels=dict(type='dict', default={}),
            restart=dict(type='bool', default=False),
            bindings=dict(type='list', elements='dict', required=True, options=dict(
                role=role, service_account=dict(type='str'), condition=condition)),
            trust=dict(type='list', elements='dict', options=dict(
                role=role, member=dict(type='str', required=True), condition=condition)),
            exclusive=dict(type='bool', default=True),
            allow_admin=dict(type='bool', default=False),
            allow_admin_reason=dict(type='str'),
            prove=dict(type='list', elements='dict', default=[], options=dict(
                permissions=dict(type='list', elements='str', required=True),
                resources=dict(type='list', elements='str', default=[]))),
            retire_keys=dict(type='list', elements='str', default=[], no_log=False),
            unused_days=dict(type='int', default=90),
        ),
        required_if=[('allow_admin', True, ['allow_admin_reason'])],
        supports_check_mode=True,
    )
    binding = Binding(module)
    try:
        result = binding.run()
    except (GcpError, Refusal) as exc:
        module.fail_json(
            msg=str(exc), exception=traceback.format_exc(),
            changed=bool(binding.done) and not module.check_mode, done=binding.done,
            **(dict(missing_permission=exc.missing) if getattr(exc, 'missing', None) else {}))
    module.exit_json(**result)


if __name__ == '__main__':
    main()
