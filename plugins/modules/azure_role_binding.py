#!/usr/bin/python
# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r'''
module: azure_role_binding
short_description: Managed identities of virtual machines with exactly the roles that are listed
version_added: "0.2.0"
author: The rampart authors (@rampart-hardening)
description:
  - Gives virtual machines a managed identity, of their own or shared, and that identity exactly the role assignments
    that are listed. Whatever else is assigned to it goes away.
  - What has to be proved is looked at before anything is written. Then it grants, attaches, proves, and only then
    revokes. Where the second proof fails, what was assigned before stays.
  - Refuses roles with which somebody could give himself more.
options:
  name:
    description:
      - The user-assigned identity, by name or resource id. One that does not exist is made, in the region of the first
        machine.
      - Left out, the system-assigned identity of each machine is meant, and each gets the same assignments.
    type: str
  resource_group:
    description: The resource group of the identity, where O(name) is no resource id.
    type: str
  instances:
    description: Virtual machines by name, which may be their names in the inventory, or by resource id.
    type: list
    elements: str
    default: []
  instance_tags:
    description: Tags and their values. Virtual machines that have all of them are added to O(instances).
    type: dict
    default: {}
  assignments:
    description: What the identity may do, all of it.
    type: list
    elements: dict
    required: true
    suboptions:
      role:
        description: The role by name, GUID or id.
        type: str
        required: true
      scope:
        description: The id of a resource, resource group, subscription or management group.
        type: str
        required: true
      condition:
        description: A condition in Azure's language for them, version 2.0.
        type: str
  exclusive:
    description: Whether other assignments to the identity are removed. Otherwise they are reported as RV(kept).
    type: bool
    default: true
  allow_admin:
    description: >-
      Whether roles are taken that may do anything, or anything of a kind with every resource, or that change who may do
      what. That is judged by what the role's definition lists, whatever its name.
    type: bool
    default: false
  allow_admin_reason:
    description: Why. It is in the result.
    type: str
  prove:
    description:
      - What the identity must be able to do with what is left after revoking.
      - This is computed from the role and deny assignments that Azure lists, those of groups included, as nobody but
        the machine itself can try it. What hangs on a condition counts, and is marked so in RV(proved).
    type: list
    elements: dict
    default: []
    suboptions:
      actions:
        description: Actions of the control plane, as V(Microsoft.Storage/storageAccounts/read).
        type: list
        elements: str
        default: []
      data_actions:
        description: Actions on data, as V(Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read).
        type: list
        elements: str
        default: []
      resources:
        description: The ids of the resources on which it must be able to do each of them.
        type: list
        elements: str
        required: true
extends_documentation_fragment:
  - rampart.hardening.azure
requirements:
  - azure-mgmt-authorization >= 4.0
  - azure-mgmt-compute >= 34.1
  - azure-mgmt-msi >= 7.1
attributes:
  check_mode:
    description: Can run in check mode and predicts exactly what a run then changes.
    support: full
  diff_mode:
    description: Returns assignments and identities before and after.
    support: full
'''

EXAMPLES = r'''
- name: Database machines read one secret store and nothing else
  rampart.hardening.azure_role_binding:
    subscription_id: 00000000-0000-0000-0000-000000000000
    resource_group: production
    name: db
    instances: "{{ groups['db'] }}"
    assignments:
      - role: Key Vault Secrets User
        scope: "{{ vault }}"
    prove:
      - data_actions: [Microsoft.KeyVault/vaults/secrets/getSecret/action]
        resources: ["{{ vault }}"]
  vars:
    vault: >-
      /subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/production/providers/Microsoft.KeyVault/vaults/db
  delegate_to: localhost
  run_once: true
'''

RETURN = r'''
identities:
  description: The identities, each with C(name), C(principal_id), and C(id) where it is user-assigned.
  returned: success
  type: list
  elements: dict
done:
  description: What was changed, or in check mode would be, in order. After a failure it is what was changed before.
  returned: always
  type: list
  elements: str
kept:
  description: Assignments that are not listed and stay, as O(exclusive=false).
  returned: success
  type: list
  elements: dict
elsewhere:
  description: Other machines that have the identity, where machines were named.
  returned: success
  type: list
  elements: str
proved:
  description: What was proved, each with C(identity), C(action), C(resource), C(role) and C(conditional).
  returned: success
  type: list
  elements: dict
missing_permission:
  description: The permission that the credentials lack.
  returned: when a call was denied
  type: str
admin:
  description: Why administrator-like roles were taken, and which they are.
  returned: when there are any
  type: dict
'''

import io
import json
import re
import time
import traceback
import typing as t
import uuid

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rampart.hardening.plugins.module_utils.cloud_azure import AZURE_ARGS, Azure, explain, lacking

try:
    from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError, ResourceNotFoundError
except ImportError:  # of which Azure() tells
    AzureError = HttpResponseError = ResourceExistsError = ResourceNotFoundError = Exception

TRIES = 5
EVERYONE = '00000000-0000-0000-0000-000000000000'
NAMESPACE = uuid.UUID('6f1c9d5e-95a0-4f1b-8f52-8a4d4f3f2b60')  # names of assignments follow from what they assign
GUID = re.compile(r'[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}', re.IGNORECASE)
NOT_YET = 'not there yet: '  # the principal of an identity that check mode does not make


class Assignment(t.NamedTuple):
    """One role for one principal on one scope. Azure has each at most once, whatever its condition."""

    principal: str
    role: str  # id of the definition
    scope: str
    condition: str | None
    id: str | None = None

    @property
    def key(self):
        """What makes it one and the same."""
        return self.principal.lower(), guid(self.role), self.scope.lower()


class Subject(t.NamedTuple):
    """An identity that gets the assignments."""

    name: str
    principal: str
    id: str | None = None

    @property
    def is_there(self):
        """Whether it exists already, outside check mode's imagination."""
        return not self.principal.startswith(NOT_YET)


class Plan(t.NamedTuple):
    """What has to be done to assignments, in the order in which it is done."""

    create: list
    widen: list
    restrict: list
    remove: list
    kept: list


def guid(role_id):
    """The GUID at the end of a role definition's id."""
    return role_id.rstrip('/').rsplit('/', 1)[-1].lower()


def matches(action, patterns):
    """Whether one of Azure's patterns, in which * stands for anything, matches an action."""
    return any(
        re.fullmatch(re.escape(pattern).replace(r'\*', '.*'), action, re.IGNORECASE) for pattern in patterns or [])


def covers(scope, resource):
    """Whether a scope that Azure listed as at or above a resource holds for it; it lists management groups, too."""
    scope, resource = scope.lower().rstrip('/'), resource.lower().rstrip('/')
    return (resource + '/').startswith(scope + '/') or scope.startswith('/providers/microsoft.management/')


def administrates(permissions):
    """Why a role is an administrator's: the first of its actions that makes it one, or None."""
    for permission in permissions:
        for actions, not_actions in (
                (permission.actions, permission.not_actions),
                (permission.data_actions, permission.not_data_actions)):
            for action in actions or []:
                namespace, dummy, rest = action.lower().partition('/')
                if rest.rsplit('/', 1)[-1] == 'read':
                    continue
                if '*' in namespace:  # whatever its notActions say: there is always another way
                    return action
                if namespace == 'microsoft.authorization' and not matches(action, not_actions):
                    return action
                if takes_identity(action) and not matches(action, not_actions):
                    return action
    return None


def takes_identity(action):
    """Whether an action lets somebody outside log in as a managed identity."""
    return matches('Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials/write', [action])


def plan_assignments(existing, wanted, exclusive):
    """What leads from the assignments that there are to those that are wanted."""
    have = {one.key: one for one in existing}
    want = {one.key: one for one in wanted}
    both = [(have[key], one) for key, one in want.items() if key in have]
    differ = [(old, old._replace(condition=one.condition)) for old, one in both if old.condition != one.condition]
    rest = [one for key, one in have.items() if key not in want]
    return Plan(
        create=[one for key, one in want.items() if key not in have],
        widen=[new for old, new in differ if not new.condition],
        restrict=[new for old, new in differ if new.condition],
        remove=rest if exclusive else [],
        kept=[] if exclusive else rest)


class Refusal(Exception):
    """What stands against it, and what to do about it."""


class Binding:
    """One run of the module."""

    def __init__(self, module):
        self.module = module
        self.params = module.params
        azure = Azure(module)
        self.subscription = azure.subscription
        self.authorization = azure.client('authorization')
        self.compute = azure.client('compute')
        self.msi = azure.client('msi')
        self.definitions = {}
        self.done = []
        self.every = []

    def run(self):
        """Look, refuse, plan; then grant, attach, prove and revoke, in that order."""
        machines = self.find_machines()
        wanted = [
            dict(role=self.find_role(one), scope=one['scope'].rstrip('/') or '/',
                 condition=(one['condition'] or '').strip() or None)
            for one in self.params['assignments']]
        admin = self.refuse_admin(wanted)
        subjects = self.find_subjects(machines)
        before, plan = self.plan(subjects, wanted)
        proved = self.prove_all(subjects, plan, True)
        instances = {label(machine.id): identities(machine) for machine in machines}

        if self.params['name'] is None:
            subjects = [self.attach(machine, subject) for machine, subject in zip(machines, subjects)]
        else:
            subjects = [self.make(subjects[0], machines)]
        existing, plan = self.grant(subjects, wanted)
        if self.params['name'] is not None:
            for machine in machines:
                self.attach(machine, subjects[0])
        if not self.module.check_mode:
            proved = self.prove_all(subjects, plan, False)
        for one in plan.restrict:
            self.do(f'restricted {self.say(one, subjects)}', self.put, one)
        for one in plan.remove:
            self.do(f'revoked {self.say(one, subjects)}', self.delete, one)

        gone = {one.key for one in plan.remove}
        new = {one.key: one for one in plan.create + plan.widen + plan.restrict}
        after = [one for one in {**{one.key: one for one in existing}, **new}.values() if one.key not in gone]
        added = 'system-assigned' if self.params['name'] is None else subjects[0].id
        result = dict(
            changed=bool(self.done), done=self.done, proved=proved,
            identities=[
                dict(name=one.name, principal_id=one.principal if one.is_there else None, id=one.id)
                for one in subjects],
            kept=self.listed(plan.kept, subjects),
            elsewhere=sorted(
                label(one.id) for one in self.every
                if label(one.id) not in instances and subjects[0].id and subjects[0].id.lower() in users(one)),
            diff=dict(
                before=dict(assignments=self.listed(before, subjects), instances=instances),
                after=dict(
                    assignments=self.listed(after, subjects),
                    instances={name: with_identity(those, added) for name, those in instances.items()})))
        if admin:
            result['admin'] = dict(reason=self.params['allow_admin_reason'], roles=admin)
        return result

    def do(self, sentence, function, *args):
        """Do it, unless in check mode, and say so."""
        made = None if self.module.check_mode else function(*args)
        self.done.append(sentence)
        return made

    # --- what there is

    def find_machines(self):
        """The virtual machines that are named, sorted by id."""
        names, tags = self.params['instances'], self.params['instance_tags']
        if not names and not tags:
            return []
        self.every = every = list(self.compute.virtual_machines.list_all())
        found = {}
        for name in names:
            those = [one for one in every if name.lower() in (one.name.lower(), one.id.lower())]
            if len(those) != 1:
                raise Refusal(
                    f'{name} is the name of {len(those)} virtual machines in subscription {self.subscription}'
                    + (f', say which: {", ".join(sorted(one.id for one in those))}' if those else ''))
            found[those[0].id.lower()] = those[0]
        tagged = [
            one for one in every
            if tags and all((one.tags or {}).get(key) == str(value) for key, value in tags.items())]
        if tags and not tagged:
            raise Refusal(f'no virtual machine in subscription {self.subscription} has the tags {json.dumps(tags)}')
        found.update((one.id.lower(), one) for one in tagged)
        return [found[key] for key in sorted(found)]

    def find_role(self, assignment):
        """The definition of a role that is given by name, GUID or id."""
        role, scope = assignment['role'], assignment['scope']
        if not scope.startswith('/'):
            raise Refusal(f'a scope begins with /subscriptions/ or /providers/, which {scope} does not')
        if GUID.fullmatch(role) or role.startswith('/'):
            return self.definition(
                role if role.startswith('/')
                else f'{scope.rstrip("/")}/providers/Microsoft.Authorization/roleDefinitions/{role}')
        quoted = role.replace("'", "''")
        found = list(self.authorization.role_definitions.list(scope, filter=f"roleName eq '{quoted}'"))
        if not found:
            raise Refusal(f'there is no role {role} that could be assigned on {scope}')
        self.definitions[guid(found[0].id)] = found[0]
        return found[0]

    def definition(self, role_id):
        """The definition with this id."""
        if guid(role_id) not in self.definitions:
            self.definitions[guid(role_id)] = self.authorization.role_definitions.get_by_id(role_id)
        return self.definitions[guid(role_id)]

    def refuse_admin(self, wanted):
        """Refuse administrators' roles, or return their names where they are allowed."""
        found = {one['role'].role_name: administrates(one['role'].permissions) for one in wanted}
        found = {name: action for name, action in found.items() if action}
        if found and not self.params['allow_admin']:
            name, action = min(found.items())
            raise Refusal(
                f'the role {name} lets its holder do {action}, which is as good as everything: take a narrower one, '
                f'or set allow_admin and allow_admin_reason')
        return sorted(found)

    def find_subjects(self, machines):
        """Who is to get the assignments."""
        name, group = self.params['name'], self.params['resource_group']
        if name is None:
            if not machines:
                raise Refusal('without name, instances or instance_tags have to say whose identities are meant')
            return [
                Subject(label(one.id), one.identity.principal_id if has_system(one) else NOT_YET + label(one.id))
                for one in machines]
        if name.startswith('/'):
            parts = name.strip('/').split('/')
            if len(parts) != 8 or parts[1].lower() != self.subscription.lower():
                raise Refusal(f'{name} is not the id of a user-assigned identity in subscription {self.subscription}')
            group, name = parts[3], parts[7]
        elif not group:
            raise Refusal(f'in which resource_group is the identity {name}?')
        try:
            found = self.msi.user_assigned_identities.get(group, name)
        except ResourceNotFoundError as exc:
            if exc.error is not None and exc.error.code != 'ResourceNotFound':  # the group or the subscription
                raise
            return [Subject(name, NOT_YET + name, (
                f'/subscriptions/{self.subscription}/resourceGroups/{group}/providers/Microsoft.ManagedIdentity'
                f'/userAssignedIdentities/{name}'))]
        return [Subject(found.name, found.principal_id, found.id)]

    def existing(self, subjects, wanted):
        """All assignments to these principals, themselves and not through groups, where we can see."""
        places = {'/subscriptions/' + self.subscription.lower()}
        for one in wanted:
            place = re.match('/subscriptions/[^/]+', one['scope'].lower())
            places.add(place[0] if place else one['scope'])
        found = {}
        for subject in subjects:
            if not subject.is_there:
                continue
            for place in sorted(places):
                for one in self.authorization.role_assignments.list_for_scope(
                        place, filter=f"principalId eq '{subject.principal}'"):
                    if one.principal_id.lower() == subject.principal.lower():
                        found[one.id.lower()] = as_assignment(one)
        return [found[key] for key in sorted(found)]

    def plan(self, subjects, wanted):
        """What there is, and what leads from it to what is wanted."""
        wants = [
            Assignment(subject.principal, one['role'].id, one['scope'], one['condition'])
            for subject in subjects for one in wanted]
        if len({one.key for one in wants}) != len(wants):
            raise Refusal('assignments has the same role twice on one scope; Azure wants one, with one condition')
        existing = self.existing(subjects, wanted)
        return existing, plan_assignments(existing, wants, self.params['exclusive'])

    # --- what is done

    def make(self, subject, machines):
        """Make a user-assigned identity that is not there."""
        if subject.is_there:
            return subject
        if not machines:
            raise Refusal(
                f'there is no identity {subject.id}, and without a machine no region to make it in: name instances')
        group = subject.id.split('/')[4]
        place = machines[0].location
        made = self.do(
            f'made the identity {subject.name} in {place}',
            self.msi.user_assigned_identities.create_or_update, group, subject.name, body(location=place))
        return subject if made is None else Subject(made.name, made.principal_id, made.id)

    def grant(self, subjects, wanted):
        """Make what is missing, and return what there was and the plan of which that was a part."""
        for _turn in range(TRIES):
            existing, plan = self.plan(subjects, wanted)
            try:
                for one in plan.create + plan.widen:
                    self.do(f'granted {self.say(one, subjects)}', self.put, one)
            except ResourceExistsError:  # somebody else made it meanwhile, under another name
                continue
            return existing, plan
        raise Refusal('the assignments were changed by somebody else all the time, run it again later')

    def put(self, one):
        """Write an assignment, under the name that it has or one that follows from what it assigns."""
        name = one.id.rsplit('/', 1)[-1] if one.id else str(uuid.uuid5(NAMESPACE, ' '.join(one.key)))
        condition = dict(condition=one.condition, conditionVersion='2.0') if one.condition else {}
        self.authorization.role_assignments.create(one.scope, name, body(properties=dict(
            roleDefinitionId=one.role, principalId=one.principal, principalType='ServicePrincipal', **condition)))

    def delete(self, one):
        """Remove an assignment; one that is gone already is as good."""
        self.authorization.role_assignments.delete(one.scope, one.id.rsplit('/', 1)[-1])

    def attach(self, machine, subject):
        """Give a machine the identity, and return the identity as it is then."""
        if self.is_attached(machine, subject):
            return subject
        made = self.do(f'attached {subject.name} to {label(machine.id)}', self.patch, machine, subject)
        return subject if made is None or subject.id else subject._replace(principal=made.identity.principal_id)

    @staticmethod
    def is_attached(machine, subject):
        """Whether a machine has the identity."""
        return has_system(machine) if subject.id is None else subject.id.lower() in users(machine)

    def patch(self, machine, subject):
        """Add the identity to those of a machine, none of which gets lost, and wait until it is there."""
        group, name = machine.id.split('/')[4], machine.name
        for turn in range(TRIES):
            if turn:
                time.sleep(turn)
            machine = self.compute.virtual_machines.get(group, name)
            if self.is_attached(machine, subject):
                return machine
            if subject.id is None:
                kinds, those = {'SystemAssigned'}, users(machine).values()
            else:
                kinds, those = {'UserAssigned'}, [subject.id]
            kinds |= ({'SystemAssigned'} if has_system(machine) else set()) | ({'UserAssigned'} if those else set())
            identity = dict(type=', '.join(sorted(kinds)))
            if those:
                identity['userAssignedIdentities'] = {one: {} for one in those}
            etag = getattr(machine, 'etag', None)  # from version 2024-07-01 of the API on
            try:
                return self.compute.virtual_machines.begin_update(
                    group, name, body(identity=identity), headers={'If-Match': etag} if etag else {}).result()
            except HttpResponseError as exc:
                if exc.status_code not in (409, 412) or turn == TRIES - 1:
                    raise
        return machine

    # --- the proof

    def prove_all(self, subjects, plan, ahead):
        """Every action on every resource that is listed."""
        return [
            self.prove(subject, kind, action, resource, plan, ahead)
            for subject in subjects for one in self.params['prove'] for kind in ('actions', 'data_actions')
            for action in one[kind] for resource in one['resources']]

    def prove(self, subject, kind, action, scope, plan, ahead):
        """What lets the identity do this once *plan* is through; *ahead* counts what is not granted yet.

        Everything is computed from what Azure lists.
        """
        for rule in self.denials(subject, scope):
            if any(permits(permission, kind, action) for permission in rule.permissions):
                raise Refusal(
                    f'{subject.name} could not do {action} on {scope}: the deny assignment {rule.deny_assignment_name} '
                    f'forbids it; nothing was revoked')
        gone = {other.id.lower() for other in plan.remove}
        changed = {other.key: other.condition for other in plan.create + plan.widen + plan.restrict}
        listed = []
        if subject.is_there:
            listed = [as_assignment(other) for other in self.authorization.role_assignments.list_for_scope(
                scope, filter=f"atScope() and assignedTo('{subject.principal}')")]
        if ahead:
            listed += [other for other in plan.create if other.principal == subject.principal]
        lets = []
        for other in listed:
            if (other.id or '').lower() in gone or not covers(other.scope, scope):
                continue
            definition = self.definition(other.role)
            if any(permits(permission, kind, action) for permission in definition.permissions):
                lets.append((bool(changed.get(other.key, other.condition)), definition.role_name))
        if not lets:
            raise Refusal(
                f'{subject.name} could not do {action} on {scope} with what is left to it: grant a role that has it '
                f'among its {kind.replace("_a", "A")}; nothing was revoked')
        conditional, role = min(lets)
        return dict(identity=subject.name, action=action, resource=scope, role=role, conditional=conditional)

    def denials(self, subject, scope):
        """The deny assignments that hold for an identity on a scope."""
        if not subject.is_there:
            mine = set()
        else:
            mine = {rule.id.lower() for rule in self.authorization.deny_assignments.list_for_scope(
                scope, filter=f"assignedTo('{subject.principal}')")}
        for rule in self.authorization.deny_assignments.list_for_scope(scope):
            exact = rule.scope.lower().rstrip('/') == scope.lower().rstrip('/')
            if not (exact if rule.do_not_apply_to_child_scopes else covers(rule.scope, scope)):
                continue
            excluded = {one.id.lower() for one in rule.exclude_principals or []}
            if subject.principal.lower() in excluded:
                continue
            if rule.id.lower() in mine or EVERYONE in {one.id.lower() for one in rule.principals or []}:
                yield rule

    # --- how it is said

    def described(self, one, subjects):
        """An assignment in words that people use."""
        names = {subject.principal.lower(): subject.name for subject in subjects}
        return dict(
            identity=names.get(one.principal.lower(), one.principal), role=self.definition(one.role).role_name,
            scope=one.scope, condition=one.condition)

    def listed(self, those, subjects):
        """Assignments, sorted, for people."""
        return sorted(
            (self.described(one, subjects) for one in those),
            key=lambda one: (one['identity'], one['scope'], one['role'], one['condition'] or ''))

    def say(self, one, subjects):
        """An assignment as the end of a sentence."""
        words = self.described(one, subjects)
        return (
            f'{words["role"]} on {words["scope"]} to {words["identity"]}'
            + (f' where {words["condition"]}' if words['condition'] else ''))


def body(**content):
    """The body of a request as the API itself wants it, which every version of the SDK passes on as it is."""
    return io.BytesIO(json.dumps(content).encode())


def as_assignment(one):
    """What counts of an assignment of the SDK."""
    condition = (one.condition or '').strip() or None
    return Assignment(one.principal_id, one.role_definition_id, one.scope, condition, one.id)


def permits(permission, kind, action):
    """Whether one permission of a definition covers an action. *kind* is actions or data_actions."""
    return matches(action, getattr(permission, kind)) and not matches(action, getattr(permission, 'not_' + kind))


def label(machine_id):
    """A machine as people call it: resource group and name."""
    parts = machine_id.split('/')
    return f'{parts[4].lower()}/{parts[-1]}'


def has_system(machine):
    """Whether a machine has an identity of its own."""
    kind = getattr(machine.identity, 'type', None)
    return 'systemassigned' in str(getattr(kind, 'value', kind)).lower()


def users(machine):
    """The user-assigned identities of a machine, by their ids in lower case."""
    return {one.lower(): one for one in getattr(machine.identity, 'user_assigned_identities', None) or {}}


def identities(machine):
    """The identities of a machine, for people."""
    return sorted(users(machine).values(), key=str.lower) + (['system-assigned'] if has_system(machine) else [])


def with_identity(those, added):
    """What `identities` gives once one was added."""
    if added.lower() in {one.lower() for one in those}:
        return those
    return sorted([*those, added], key=lambda one: (one == 'system-assigned', one.lower()))


def main():
    module = AnsibleModule(
        argument_spec=dict(
            AZURE_ARGS,
            name=dict(type='str'),
            resource_group=dict(type='str'),
            instances=dict(type='list', elements='str', default=[]),
            instance_tags=dict(type='dict', default={}),
            assignments=dict(type='list', elements='dict', required=True, options=dict(
                role=dict(type='str', required=True),
                scope=dict(type='str', required=True),
                condition=dict(type='str'),
            )),
            exclusive=dict(type='bool', default=True),
            allow_admin=dict(type='bool', default=False),
            allow_admin_reason=dict(type='str'),
            prove=dict(type='list', elements='dict', default=[], options=dict(
                actions=dict(type='list', elements='str', default=[]),
                data_actions=dict(type='list', elements='str', default=[]),
                resources=dict(type='list', elements='str', required=True),
            )),
        ),
        required_if=[('allow_admin', True, ['allow_admin_reason'])],
        supports_check_mode=True,
    )
    binding = Binding(module)
    try:
        result = binding.run()
    except (AzureError, Refusal) as exc:
        missing = lacking(exc)
        module.fail_json(
            msg=str(exc) if isinstance(exc, Refusal) else explain(exc), exception=traceback.format_exc(),
            changed=bool(binding.done) and not module.check_mode, done=binding.done,
            **(dict(missing_permission=missing[0]) if missing else {}))
    module.exit_json(**result)


if __name__ == '__main__':
    main()
