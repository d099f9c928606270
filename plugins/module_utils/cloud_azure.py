# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What modules for Azure share: options, credential, clients of the resource manager, and errors that say what to do.

Clients repeat what was throttled or failed for a moment (429 with Retry-After, 408, 5xx) by the SDK's own means.
"""
from __future__ import annotations

import contextlib
import importlib
import re
import traceback
import urllib.parse

from ansible.module_utils.basic import env_fallback, missing_required_lib

try:
    from azure.core.exceptions import (
        AzureError,
        ClientAuthenticationError,
        HttpResponseError,
        ServiceRequestError,
        ServiceResponseError,
    )
    from azure.identity import DefaultAzureCredential
    from azure.mgmt.core.policies import ARMChallengeAuthenticationPolicy
    IMPORT_ERROR = None
except ImportError:
    IMPORT_ERROR = traceback.format_exc()
    AzureError = Exception
    ARMChallengeAuthenticationPolicy = object

PUBLIC = 'https://management.azure.com'
AZURE_ARGS = dict(
    subscription_id=dict(type='str', required=True, fallback=(env_fallback, ['AZURE_SUBSCRIPTION_ID'])),
    resource_manager_url=dict(type='str', default=PUBLIC),
)
CLIENTS = {
    'authorization': ('azure.mgmt.authorization', 'AuthorizationManagementClient'),
    'compute': ('azure.mgmt.compute', 'ComputeManagementClient'),
    'msi': ('azure.mgmt.msi', 'ManagedServiceIdentityClient'),
    'network': ('azure.mgmt.network', 'NetworkManagementClient'),
}
RETRIES = 5
POLL_SECONDS = 5  # unless the service says how long to wait
LOOPBACK = ('127.0.0.1', '::1', 'localhost')
REFUSED = re.compile(
    r"does not have (?:authorization|permission) to perform action(?:\(s\))? '([^']+)'"
    r" (?:over scope|on scope|on the linked scope\(s\)) '([^']+)'")
LOGIN = (
    'log in with "az login", or set AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_CERTIFICATE_PATH, or run Ansible '
    'on a machine with a managed identity')


class LoopbackAuthentication(ARMChallengeAuthenticationPolicy):
    """The SDK's own authentication, which sends a token without TLS too: to this machine alone."""

    def on_request(self, request):
        request.context.options['enforce_https'] = False
        super().on_request(request)


class Azure:
    """The clients of one subscription, made when first asked for."""

    def __init__(self, module):
        if IMPORT_ERROR:
            module.fail_json(
                msg=missing_required_lib('azure-identity and azure-mgmt-core', reason='for Azure'),
                exception=IMPORT_ERROR)
        self.module = module
        self.subscription = module.params['subscription_id']
        self.url = module.params['resource_manager_url'].rstrip('/')
        place = urllib.parse.urlsplit(self.url)
        self.plain = place.scheme == 'http' and place.hostname in LOOPBACK
        if place.scheme != 'https' and not self.plain:
            module.fail_json(
                msg=f'resource_manager_url has to begin with https://, or tokens could be read on the way: {self.url}')
        self.credential = DefaultAzureCredential()
        self._clients = {}

    def client(self, name):
        """One of CLIENTS."""
        if name not in self._clients:
            package, kind = CLIENTS[name]
            try:
                make = getattr(importlib.import_module(package), kind)
            except ImportError:
                self.module.fail_json(
                    msg=missing_required_lib(package.replace('.', '-')), exception=traceback.format_exc())
            options = {}
            scope = self.url + '/.default'
            if self.plain:
                options['authentication_policy'] = LoopbackAuthentication(self.credential, scope)
            self._clients[name] = make(
                self.credential, self.subscription, base_url=self.url, credential_scopes=[scope],
                retry_total=RETRIES, polling_interval=POLL_SECONDS, **options)
        return self._clients[name]

    @contextlib.contextmanager
    def telling(self, doing, **result):
        """Where Azure refuses what happens inside, end the module with a sentence about it and with *result*."""
        try:
            yield
        except AzureError as exc:
            missing = lacking(exc)
            if missing:
                result['missing_permission'] = missing[0]
            self.module.fail_json(msg=f'{doing}: {explain(exc)}', exception=traceback.format_exc(), **result)


def explain(error):
    """One sentence about an error of the SDK: what to do about it, or else the service's own words."""
    if not isinstance(error, HttpResponseError):
        if isinstance(error, (ServiceRequestError, ServiceResponseError)):
            return f'Azure was not reached: {brief(error.message)}'
        return f'no answer of Azure that makes sense: {brief(str(error))}'
    if isinstance(error, ClientAuthenticationError) and error.status_code is None:  # no credential got as far as Azure
        return f'no credential for Azure works: {LOGIN}'
    code = error.error.code if getattr(error, 'error', None) is not None else ''
    words = error.error.message if getattr(error, 'error', None) is not None else error.message
    if error.status_code == 401:
        return f'Azure does not take the credential ({code or 401}), it may have expired: {LOGIN}'
    missing = lacking(error)
    if missing:
        return f'the identity that runs Ansible needs {missing[0]} on {missing[1]}'
    if error.status_code == 429:
        return f'Azure throttles requests and went on doing so after {RETRIES} tries, run it again later'
    return f'{code or error.status_code}: {brief(words or str(error))}'


def lacking(error):
    """The action that was denied and its scope, or nothing."""
    found = REFUSED.search(getattr(error, 'message', None) or '')
    return found.groups() if found else ()


def brief(words):
    """The first paragraph of a message, on one line."""
    return ' '.join((words or '').strip().split('\n\n')[0].split())
