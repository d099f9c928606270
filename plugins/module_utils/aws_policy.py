# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an IAM policy says: one form to compare and show, and a judge of what it gives away.

`administrator` and `trusting` return a list of reasons, each the end of a sentence; an empty one is a good policy.
Conditions do not excuse what a policy allows: they are easily met, and what they ask for changes without anybody
looking at the policy. Neither does a boundary.
"""
from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from functools import cache

# Verbs with which an action of these services does more than read. What Resource "*" gives away with them is every
# role, user and key of the account.
WRITES = {
    'iam': '''accept* add* associate* attach* change* create* deactivate* delete* detach* disable* enable* passrole put*
              reject* remove* reset* resync* send* set* tag* untag* update* upload*''',
    'sts': 'assume*',
    'kms': '''cancel* createalias createcustom* creategrant decrypt delete* derive* disable* enable* encrypt
              generatedatakey* generatemac import* put* reencrypt* replicate* retire* revoke* rotate* schedule* sign
              synchronize* tag* untag* update*''',
}
WRITES = {service: verbs.split() for service, verbs in WRITES.items()}
READS = ['get*', 'list*', 'generate*', 'simulate*']  # of IAM; what is not known to be one of these is a write
HARMLESS = {'iam:createservicelinkedrole'}  # what such a role may do is for Amazon alone to say

# Names that nobody has: a pattern that matches one of them matches everything of its kind
UNLIKELY = 'zq7rampart7qz'
RESOURCES = [
    *(
        f'arn:aws:iam::000000000000:{kind}/{UNLIKELY}'
        for kind in ('role', 'user', 'group', 'policy', 'instance-profile', 'mfa', 'oidc-provider', 'saml-provider')
    ),
    *(f'arn:aws:kms:xx-none-1:000000000000:{kind}/{UNLIKELY}' for kind in ('key', 'alias')),
]

# What tells one caller from the rest, as condition of a trust policy
WHO = {
    'aws:principalarn', 'aws:principalaccount', 'aws:principalorgid', 'aws:principalorgpaths', 'aws:sourcearn',
    'aws:sourceaccount', 'aws:sourceorgid', 'aws:userid',
}  # fmt: skip


def listed(value):
    """A policy's element as a list: one value may stand for itself."""
    return value if isinstance(value, list) else [] if value is None else [value]


def document(policy):
    """A policy as a dictionary, whether it was given as one or as JSON; ValueError says what is wrong."""
    if isinstance(policy, str):
        try:
            policy = json.loads(policy)
        except ValueError as exc:
            raise ValueError(f'is no JSON: {exc}') from exc
    if not isinstance(policy, dict) or not listed(policy.get('Statement')):
        raise ValueError('has no Statement')
    for statement in listed(policy['Statement']):
        if not isinstance(statement, dict) or statement.get('Effect') not in ('Allow', 'Deny'):
            raise ValueError('has a statement whose Effect is neither Allow nor Deny')
        if statement.get('Principal', '*') != '*' and not isinstance(statement['Principal'], dict):
            raise ValueError('has a Principal that is neither "*" nor one of AWS, Service and Federated')
    return policy


def canonical(policy):
    """The one form of all ways to write the same policy, for comparing and for showing."""
    policy = document(policy)
    statements = [{key: _sorted(key, value) for key, value in one.items()} for one in listed(policy['Statement'])]
    return {
        **{key: value for key, value in policy.items() if key not in ('Version', 'Statement')},
        'Version': policy.get('Version', '2008-10-17'),
        'Statement': sorted(statements, key=lambda one: json.dumps(one, sort_keys=True)),
    }


def _sorted(key, value):
    if key in ('Principal', 'NotPrincipal'):
        value = {'AWS': '*'} if value == '*' else value
        return {kind: sorted({_account(name) for name in listed(names)}) for kind, names in sorted(value.items())}
    if key == 'Condition':
        return {
            operator: {name: sorted({_text(one) for one in listed(values)}) for name, values in sorted(tests.items())}
            for operator, tests in sorted(value.items())
        }
    return value if key in ('Sid', 'Effect') else sorted({_text(one) for one in listed(value)})


def _account(name):
    return f'arn:aws:iam::{name}:root' if re.fullmatch(r'\d{12}', str(name)) else str(name)


def _text(value):
    return str(value).lower() if isinstance(value, bool) else str(value)


@cache
def overlap(one, other):
    """Whether some text matches both patterns of * and ?."""
    if not one or not other:
        return not (one or other).strip('*')
    if one[0] == '*':
        return overlap(one[1:], other) or overlap(one, other[1:])
    if other[0] == '*':
        return overlap(one, other[1:]) or overlap(one[1:], other)
    return (one[0] == other[0] or '?' in (one[0], other[0])) and overlap(one[1:], other[1:])


def matches(text, pattern):
    """Whether IAM's pattern covers the text. A bracket is a bracket."""
    return fnmatchcase(text, pattern.replace('[', '[[]'))


def writes(action):
    """Whether the pattern of an action, in lower case, covers one that writes to IAM, STS or KMS."""
    if action in HARMLESS:
        return False
    service, _colon, verb = action.partition(':')
    if any(overlap(service, one) and overlap(verb, write) for one, verbs in WRITES.items() for write in verbs):
        return True
    return service == 'iam' and not any(overlap(verb, read) for read in READS)


def everything(resource):
    """Whether the pattern of a resource covers all of a kind of IAM's or KMS's."""
    parts = resource.split(':', 5)
    for probe in RESOURCES:
        probe = probe.split(':', 5)
        if len(parts) == 6 and parts[2] == probe[2]:  # an account or region that is named narrows nothing
            probe[1:5] = [re.sub("[*?]", "0", mine) for mine in parts[1:5]]
        if matches(':'.join(probe), resource):
            return True
    return False


def administrator(policy):
    """What makes this policy an administrator's."""
    reasons = []
    for statement in listed(document(policy)['Statement']):
        if statement['Effect'] != 'Allow':
            continue
        if 'NotAction' in statement:
            reasons.append('allows all but what NotAction names')
        if 'NotResource' in statement:
            reasons.append('allows on all but what NotResource names')
        wide = sorted({one for one in listed(statement.get('Resource')) if everything(str(one))})
        for written in listed(statement.get('Action')):
            action = str(written).lower()
            if matches(f'{UNLIKELY}:{UNLIKELY}', action):
                reasons.append(f'allows every action ({written})')
            elif matches(f'iam:{UNLIKELY}', action):
                reasons.append(f'allows all of IAM ({written})')
            elif wide and writes(action):
                reasons.append(f'allows {written} on {wide[0]}')
    return list(dict.fromkeys(reasons))


def trusting(policy, account):
    """Whom this trust policy lets in without naming them, seen from the account whose it is."""
    reasons = []
    for statement in listed(document(policy)['Statement']):
        if statement['Effect'] != 'Allow':
            continue
        if 'NotPrincipal' in statement:
            reasons.append('lets in everybody but whom NotPrincipal names')
        named = _conditions(statement.get('Condition'))
        principals = statement.get('Principal', {})
        for kind, names in ({'AWS': '*'} if principals == '*' else principals).items():
            for name in map(str, listed(names)):
                foreign = re.fullmatch(r'(?:arn:[\w-]+:iam::)?(\d{12})(?::root)?', name)
                if kind == 'AWS' and '*' in name and not named & WHO:
                    reasons.append(f'lets in everybody ({kind}: {name})')
                elif kind == 'AWS' and foreign and foreign[1] != account and not named & {*WHO, 'sts:externalid'}:
                    reasons.append(f'lets in the whole account {foreign[1]}')
                elif kind == 'Federated' and ':oidc-provider/' in name:
                    issuer = name.split(':oidc-provider/')[1].lower()
                    if f'{issuer}:sub' not in named:
                        reasons.append(f'lets in everybody whom {issuer} knows')
    return list(dict.fromkeys(reasons))


def _conditions(condition):
    """The keys of which a condition asks for something: not that they are something else, absent or anything."""
    return {
        key.lower()
        for operator, tests in (condition or {}).items()
        if re.fullmatch(r'(ForAnyValue:)?(String|Arn)(Equals|Like|EqualsIgnoreCase)', operator)
        for key, values in tests.items()
        if not any(set(str(value)) <= set('*?') for value in listed(values))
    }
