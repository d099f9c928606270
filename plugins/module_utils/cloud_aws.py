# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls to Amazon's API: whole lists, repeated where the service is busy, failing with what is to be done."""
from __future__ import annotations

import re
from contextlib import suppress

with suppress(ImportError):  # AnsibleAWSModule says what is missing
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

from ansible.module_utils.common.text.converters import to_native
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry

DENIED = {'AccessDenied', 'AccessDeniedException', 'UnauthorizedOperation', 'UnauthorizedAccess', '403', 'Forbidden'}
LOGIN = {
    'ExpiredToken', 'ExpiredTokenException', 'RequestExpired', 'InvalidClientTokenId', 'UnrecognizedClientException',
    'AuthFailure', 'SignatureDoesNotMatch', 'InvalidAccessKeyId', 'InvalidToken',
}  # fmt: skip
BUSY = ['Throttling', 'ThrottlingException', 'TooManyRequests', 'SlowDown', 'ConcurrentModification', 'ServiceFailure']

# Where the permission is not called as the operation is
PERMISSIONS = {
    'ListBuckets': 's3:ListAllMyBuckets',
    ('s3control', 'GetPublicAccessBlock'): 's3:GetAccountPublicAccessBlock',
    ('s3control', 'PutPublicAccessBlock'): 's3:PutAccountPublicAccessBlock',
}


class Aws:
    """The account, as this module's credentials see it."""

    def __init__(self, module):
        self.module = module
        self.done = []  # what was written, for whoever reads a failure
        self.clients = {}

    def client(self, service, region=None):
        """A client, made once."""
        if (service, region) not in self.clients:
            self.clients[service, region] = self.module.client(service, **({'region': region} if region else {}))
        return self.clients[service, region]

    def call(self, service, operation, /, absent=(), again=(), region=None, **params):
        """What an operation answers, a list in whole; None where the error is one of `absent`.

        Errors in `again` are those of something written a moment ago that is not yet seen everywhere.
        """
        client = self.client(service, region)
        method = getattr(client, operation)
        if client.can_paginate(operation):

            def method(**kwargs):
                return client.get_paginator(operation).paginate(**kwargs).build_full_result()

        retry = AWSRetry.jittered_backoff(retries=8, delay=1, max_delay=20, catch_extra_error_codes=[*BUSY, *again])
        try:
            return retry(method)(**params)
        except ClientError as exc:
            if exc.response['Error']['Code'] in absent:
                return None
            self.fail(explain(exc, service, client.meta.method_to_api_mapping[operation]), exc)
        except (BotoCoreError, ResponseParserError) as exc:
            self.fail(unreachable(exc), exc)

    def write(self, what, service, operation, /, **params):
        """Call an operation that changes something, and keep in mind what it did."""
        result = self.call(service, operation, **params)
        if result is not None:
            self.done.append(what)
        return result

    def fail(self, message, exception=None, **more):
        """End with one sentence; what was changed before is told too."""
        after = f' Changed before that: {"; ".join(self.done)}.' if self.done else ' Nothing was changed.'
        if (permission := getattr(exception, 'permission', None)) is not None:
            more['missing_permission'] = permission
        self.module.fail_json(msg=message + after, done=self.done, changed=bool(self.done), **more)

    def identity(self):
        """Account, partition and ARN of the caller."""
        arn = self.call('sts', 'get_caller_identity')['Arn']
        return {'arn': arn, 'partition': arn.split(':')[1], 'account': arn.split(':')[4]}


def explain(exc, service, operation):
    """An error of the service as a sentence that says what to do."""
    error = exc.response['Error']
    said = to_native(error.get('Message') or '').strip().rstrip('.')
    status = exc.response.get('ResponseMetadata', {}).get('HTTPStatusCode')
    if error['Code'] in DENIED or status == 403 and not error['Code']:
        prefix = 's3' if service == 's3control' else service
        known = PERMISSIONS.get((service, operation)) or PERMISSIONS.get(operation) or f'{prefix}:{operation}'
        named = re.search(r'not authorized to perform: ([\w-]+:\w+)(?: on resource: (\S+))?', said)
        exc.permission = named[1] if named else known
        on = f' on {named[2]}' if named and named[2] else ''
        return f'The credentials need {exc.permission}{on}' + (f': Amazon says {said}.' if said else '.')
    if error['Code'] in LOGIN:
        return f'The credentials are not valid, or not any more ({error["Code"]}): log in again or give others.'
    return f'{operation} failed ({error["Code"]}): {said}.'


def unreachable(exc):
    """An error of the SDK, before there was an answer."""
    if type(exc).__name__ in ('NoCredentialsError', 'PartialCredentialsError', 'CredentialRetrievalError'):
        return f'There are no usable credentials for Amazon ({exc}): log in, or set profile or AWS_PROFILE.'
    said = to_native(exc).splitlines()[0].rstrip('.:')
    return f'Amazon could not be asked ({type(exc).__name__}): {said}.'
