# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What modules for Alibaba Cloud share: options, the client, errors that say what to do, and policy documents.

All services are spoken to through the SDK's core, which signs, retries and finds credentials. The SDKs of the single
services only wrap it in classes, thousands of them for ECS, which take seconds to load.
"""
from __future__ import annotations

import contextlib
import json
import re
import time
import traceback
import urllib.parse

from ansible.module_utils.basic import env_fallback, missing_required_lib

try:
    from alibabacloud_credentials.client import Client as CredentialClient
    from alibabacloud_tea_openapi.client import Client
    from alibabacloud_tea_openapi.utils import Utils
    from alibabacloud_tea_openapi.utils_models import Config, OpenApiRequest, Params
    from darabonba.policy.retry import RetryOptions
    from darabonba.runtime import RuntimeOptions
    IMPORT_ERROR = None
except ImportError:
    IMPORT_ERROR = traceback.format_exc()

ALI_ARGS = dict(
    access_key_id=dict(type='str', no_log=False),
    access_key_secret=dict(type='str', no_log=True),
    security_token=dict(type='str', no_log=True),
    region=dict(type='str', fallback=(env_fallback, ['ALIBABA_CLOUD_REGION_ID'])),
    endpoint=dict(type='str'),
)
ALI_REQUIRED_TOGETHER = [('access_key_id', 'access_key_secret')]

VERSIONS = {'ram': '2015-05-01', 'ims': '2019-08-15', 'ecs': '2014-05-26'}
LOOPBACK = ('127.0.0.1', '::1', 'localhost')
RETRIES = RetryOptions({'retryable': True, 'retryCondition': [{
    'maxAttempts': 6,
    'exception': ['ThrottlingException', 'ServerException', 'RetryError'],
    'errorCode': ['Throttling', 'Throttling.User', 'Throttling.Api', 'Throttling.Resource', 'ServiceUnavailable',
                  'InternalError', 'IncorrectInstanceStatus'],
    'backoff': {'policy': 'Exponential', 'period': 150, 'cap': 10000},
}]}) if not IMPORT_ERROR else None
NOT_YET = ('EntityNotExist.Role', 'EntityNotExist.Policy', 'EntityNotExist.Group', 'InvalidRamRole.NotFound')
TOLD = ('RoleName', 'RamRoleName', 'PolicyName', 'GroupName', 'UserName', 'UserAccessKeyId', 'InstanceId',
        'InstanceIds')
LOGIN = (
    'set access_key_id and access_key_secret, or ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET, or '
    'run Ansible on an ECS instance with a RAM role')


class AliError(Exception):
    """What the service (or the way to it) refused, told in one sentence."""

    def __init__(self, words, code='', missing_permission=None):
        super().__init__(words.rstrip('.'))
        self.code, self.missing_permission = code, missing_permission


class Ali:
    """One account, in one region where there are instances to be looked at."""

    def __init__(self, module):
        if IMPORT_ERROR:
            module.fail_json(
                msg=missing_required_lib('alibabacloud-tea-openapi', reason='for Alibaba Cloud'),
                exception=IMPORT_ERROR)
        self.module = module
        self.region = module.params['region']
        place = urllib.parse.urlsplit(module.params['endpoint'] or '')
        if place.geturl() and place.scheme != 'https' and not (place.scheme == 'http' and place.hostname in LOOPBACK):
            module.fail_json(msg=f"endpoint has to begin with https://: {module.params['endpoint']}")
        self.place = place
        given = {name: module.params[name] for name in ('access_key_id', 'access_key_secret', 'security_token')
                 if module.params[name]}
        self.credentials = given or {'credential': CredentialClient()}
        self.done = []  # what was written, for whoever reads a failure
        self._clients = {}

    def refuse(self, why, **result):
        """End the module without having done what it was asked for."""
        before = f"Changed before that: {'; '.join(self.done)}" if self.done else 'Nothing was changed'
        self.module.fail_json(msg=f'{why}. {before}.', changed=bool(self.done), done=self.done, **result)

    @contextlib.contextmanager
    def telling(self):
        """Where the service refuses what happens inside, end the module with a sentence about it."""
        try:
            yield
        except AliError as exc:
            more = {'missing_permission': exc.missing_permission} if exc.missing_permission else {}
            self.refuse(str(exc), code=exc.code, **more)

    def client(self, product):
        if product not in self._clients:
            if product == 'ecs' and not self.region:
                self.module.fail_json(msg='instances are looked up in a region: set region')
            host = self.place.netloc or (f'ecs.{self.region}.aliyuncs.com' if product == 'ecs'
                                         else f'{product}.aliyuncs.com')
            self._clients[product] = Client(Config(
                endpoint=host, protocol=self.place.scheme or 'https', region_id=self.region, retry_options=RETRIES,
                connect_timeout=10000, read_timeout=60000, user_agent='rampart.hardening', **self.credentials))
        return self._clients[product]

    @property
    def own_key(self):
        """The id of the key that this run works with."""
        return self.client('ram').get_access_key_id()

    def call(self, product, action, **params):
        """Call one operation; its answer. AliError otherwise."""
        if product == 'ecs':
            params['RegionId'] = self.region
        request = OpenApiRequest(query=Utils.query({
            name: str(value).lower() if isinstance(value, bool) else value for name, value in params.items()}))
        kind = Params(action=action, version=VERSIONS[product], protocol='HTTPS', pathname='/', method='POST',
                      auth_type='AK', style='RPC', req_body_type='formData', body_type='json')
        try:
            answer = self.client(product).call_api(kind, request, RuntimeOptions())['body']
        except Exception as exc:  # the SDK raises five unrelated kinds, its core's own among them
            raise explain(exc, product, action) from exc
        if not action.startswith(('Get', 'List', 'Describe')):
            self.done.append(' '.join([action, *(value for name, value in params.items() if name in TOLD)]))
        return answer

    def find(self, product, action, **params):
        """The answer, or None where the service says that there is no such thing."""
        try:
            return self.call(product, action, **params)
        except AliError as exc:
            if exc.code.startswith('EntityNotExist'):
                return None
            raise

    def ensure(self, product, action, **params):
        """Call what may have been done already: by somebody else, or by ourselves when only the answer was lost.

        What was just made is not known everywhere at once, so that "no such role" is asked about again for a while.
        """
        for pause in (1, 2, 4, 8, 0):
            try:
                return self.call(product, action, **params)
            except AliError as exc:
                if exc.code.startswith('EntityAlreadyExists'):
                    return None
                if exc.code not in NOT_YET or not pause:
                    raise
                time.sleep(pause)
        return None

    def ram_pages(self, action, *path, **params):
        """All items of a list that RAM gives in pages."""
        items, marker = [], {}
        while True:
            answer = self.call('ram', action, MaxItems=100, **marker, **params)
            items += answer[path[0]][path[1]]
            if not answer.get('IsTruncated'):
                return items
            marker = {'Marker': answer['Marker']}

    def policy(self, kind, name):
        """The document in force of a policy, or None where there is no such policy."""
        answer = self.find('ram', 'GetPolicy', PolicyType=kind, PolicyName=name)
        return answer and json.loads(answer['DefaultPolicyVersion']['PolicyDocument'])

    def create_policy(self, name, document):
        """Make a custom policy; where somebody else was first, theirs stays for now."""
        self.ensure('ram', 'CreatePolicy', PolicyName=name, PolicyDocument=json.dumps(document, sort_keys=True))

    def rewrite_policy(self, name, document, seen):
        """Make *document* the default version of a custom policy that said *seen* when it was read."""
        now = self.policy('Custom', name)
        if now is None or same(now, document):  # just made, and not known everywhere yet
            return
        if not same(now, seen):
            self.module.warn(
                f'policy {name} was changed by somebody else while this ran: their version is kept, but not in force')
        others = self.call('ram', 'ListEntitiesForPolicy', PolicyType='Custom', PolicyName=name)
        names = sorted(f"{kind.lower()} {one[f'{kind}Name']}" for kind in ('Group', 'Role', 'User')
                       for one in others[f'{kind}s'][kind])
        if len(names) > 1:
            self.module.warn(f"policy {name} changes for all who have it: {', '.join(names)}")
        self.call('ram', 'CreatePolicyVersion', PolicyName=name, PolicyDocument=json.dumps(document, sort_keys=True),
                  SetAsDefault=True, RotateStrategy='DeleteOldestNonDefaultVersionWhenLimitExceeded')


def explain(error, product, action):
    """What the SDK raised, as one sentence: what to do about it, or else the service's own words."""
    permission = f"{'ram' if product == 'ims' else product}:{action}"
    code, data = str(getattr(error, 'code', None) or ''), getattr(error, 'data', None) or {}
    words = ' '.join(str(data.get('Message') or getattr(error, 'message', None) or error).split())[:400]
    if not data.get('Code'):
        if 'redential' in words:
            return AliError(f'no credentials for Alibaba Cloud: {LOGIN} ({words})', code)
        return AliError(f'{permission}: no answer of Alibaba Cloud, or none that makes sense: {words}', code)
    if code.startswith(('NoPermission', 'Forbidden', 'UnauthorizedOperation', 'InvalidUser.PassRole')):
        named = re.search(r'Action: (\S+?)\.?(?:\s|$)', words)
        where = re.search(r'Resource: (\S+)', words)
        needed = ('ram:PassRole' if 'PassRole' in code else (data.get('AccessDeniedDetail') or {}).get('AuthAction')
                  or (named and named.group(1)) or permission)
        place = f' on {where.group(1)}' if where else ''
        return AliError(f'needs {needed}{place} for {permission} ({code}: {words})', code, needed)
    if code.startswith(('InvalidAccessKeyId', 'SignatureDoesNotMatch', 'InvalidSecurityToken', 'IncompleteSignature')):
        return AliError(f'the credentials are not accepted, get valid ones: {LOGIN} ({code}: {words})', code)
    if code.startswith('Throttling'):
        return AliError(f'{permission} was throttled again and again; run this later ({code}: {words})', code)
    if code == 'IncorrectInstanceStatus':
        return AliError(f'{permission}: run this again when the instance runs or is stopped ({code}: {words})', code)
    return AliError(f'{permission} failed: {code}: {words}', code)


def listed(value):
    """What documents may give as one value or as a list, as a list."""
    return value if isinstance(value, list) else [] if value is None else [value]


def canonical(value):
    """A document in which order, and one value or a list of one, make no difference."""
    if isinstance(value, dict):
        return {name: canonical(part) for name, part in value.items()}
    if isinstance(value, list):
        parts = sorted((canonical(part) for part in value), key=lambda part: json.dumps(part, sort_keys=True))
        return parts[0] if len(parts) == 1 else parts
    return str(value).lower() if isinstance(value, bool) else str(value)


def same(one, other):
    """Whether two documents mean the same by their letter."""
    return canonical(one) == canonical(other)


def matches(pattern, name):
    """Whether a pattern with * and ? of a document matches, whatever the case."""
    parts = (('.*' if c == '*' else '.' if c == '?' else re.escape(c)) for c in pattern.lower())
    return re.fullmatch(''.join(parts), name.lower(), re.DOTALL) is not None


RIGHTS = ('ram', 'ims', 'sts', 'kms', 'resourcemanager')  # who may write there can give themselves the rest
READS = ('get', 'list', 'describe', 'check', 'simulate', 'decode')


def admin_like(document):
    """Why a policy makes its holder something of an administrator: reasons, none if it does not."""
    reasons = []
    for statement in listed(document.get('Statement')) or [None]:
        if not isinstance(statement, dict) or statement.get('Effect') not in ('Allow', 'Deny') or not (
                {'Action', 'NotAction'} & set(statement) and {'Resource', 'NotResource'} & set(statement)):
            reasons.append('a statement that makes no sense')
            continue
        if statement['Effect'] == 'Deny':
            continue
        if 'NotAction' in statement:
            reasons.append('NotAction with Allow')
        wide = 'NotResource' in statement or any(is_wide(one) for one in listed(statement.get('Resource')))
        for action in listed(statement.get('Action')):
            service, dummy, verb = action.lower().partition(':')
            verb = verb or ('*' if service.endswith('*') else '')
            covered = [name for name in RIGHTS if matches(service, name)]
            if set(service + verb) <= set('*?:') or (covered and set(verb) <= set('*?')):
                reasons.append(f'Action {action}')
            elif covered and wide and not verb.startswith(READS):
                reasons.append(f"Action {action} on Resource {'*' if 'Resource' in statement else 'all but some'}")
    return sorted(set(reasons))


def is_wide(resource):
    """Whether this means all, or all of a kind: *, acs:ram:*:*:*, acs:ram:*:*:role/*."""
    return re.fullmatch(r'[a-z-]*/?[*?]+', resource.split(':', 4)[-1].lower()) is not None or (
        resource.count(':') < 4 and resource.endswith('*'))


def allowed(documents, action, resource):
    """What policies together say of this: no, yes, or conditionally where that hangs on a condition."""
    answers = set()
    for document in documents:
        for statement in listed(document.get('Statement')):
            hit = all((any(matches(one, value) for one in listed(statement.get(kind)))
                       if kind in statement else
                       not any(matches(one, value) for one in listed(statement.get('Not' + kind))))
                      for kind, value in (('Action', action), ('Resource', resource)))
            if not hit:
                continue
            certain = not statement.get('Condition')
            if statement.get('Effect') == 'Deny' and certain:
                return 'no'
            answers.add((statement.get('Effect'), certain))
    if not {('Allow', True), ('Allow', False)} & answers:
        return 'no'
    return 'yes' if ('Allow', True) in answers and ('Deny', False) not in answers else 'conditionally'
