# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What modules for Google Cloud share: options, credential, services, and errors that say what to do.

What was throttled or failed for a moment (429, 5xx, connections that break) is repeated by the SDK's own means.
"""
from __future__ import annotations

import json
import re
import traceback
import urllib.parse

from ansible.module_utils.basic import env_fallback, missing_required_lib

try:
    import google.auth
    import httplib2
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError
    from googleapiclient.discovery import build
    from googleapiclient.errors import HttpError
    IMPORT_ERROR = None
except ImportError:
    IMPORT_ERROR = traceback.format_exc()

GCP_ARGS = dict(
    project=dict(type='str', required=True, fallback=(env_fallback, ['GOOGLE_CLOUD_PROJECT'])),
    api_endpoint=dict(type='str', default='https://{service}.googleapis.com'),
)
SCOPE = 'https://www.googleapis.com/auth/cloud-platform'
PATHS = {'compute': 'compute/v1/'}  # of services whose methods have no version in their own path
RETRIES = 5
LOOPBACK = ('127.0.0.1', '::1', 'localhost')
LOGIN = (
    'log in with "gcloud auth application-default login", or set GOOGLE_APPLICATION_CREDENTIALS, or run Ansible on an '
    'instance with a service account')


class GcpError(Exception):
    """One sentence about what went wrong and what to do about it.

    *status* is that of HTTP, if it came so far, and *missing* the permission that was lacking.
    """

    def __init__(self, sentence, status=None, missing=None):
        super().__init__(sentence)
        self.status = status
        self.missing = missing


class Gcp:
    """The services, made when first asked for."""

    def __init__(self, module):
        if IMPORT_ERROR:
            module.fail_json(
                msg=missing_required_lib('google-auth and google-api-python-client', reason='for Google Cloud'),
                exception=IMPORT_ERROR)
        self.endpoint = module.params['api_endpoint']
        place = urllib.parse.urlsplit(self.endpoint)
        if place.scheme != 'https' and not (place.scheme == 'http' and place.hostname in LOOPBACK):
            module.fail_json(
                msg=f'api_endpoint has to begin with https://, or tokens could be read on the way: {self.endpoint}')
        self._services = {}
        self._credentials = None

    def service(self, name, version):
        """One of Google's services."""
        if name not in self._services:
            if self._credentials is None:
                try:
                    self._credentials, _project = google.auth.default(scopes=[SCOPE])
                except DefaultCredentialsError as exc:
                    raise GcpError(f'no credential for Google Cloud works: {LOGIN}') from exc
            url = self.endpoint.format(service=name).rstrip('/') + '/' + PATHS.get(name, '')
            self._services[name] = build(
                name, version, credentials=self._credentials, static_discovery=True, cache_discovery=False,
                client_options={'api_endpoint': url})
        return self._services[name]

    @staticmethod
    def call(request, needs, on):
        """The answer to a request. *needs* is the permission that it takes, and *on* the resource, for errors."""
        try:
            return request.execute(num_retries=RETRIES)
        except HttpError as exc:
            raise GcpError(*explain(exc, needs, on)) from exc
        except TransportError as exc:
            raise GcpError(f'Google Cloud was not reached: {brief(exc)}') from exc
        except GoogleAuthError as exc:
            raise GcpError(f'Google does not take the credential, it may have expired: {LOGIN}') from exc
        except (OSError, httplib2.HttpLib2Error) as exc:
            raise GcpError(f'Google Cloud was not reached: {brief(exc)}') from exc

    def pages(self, collection, needs, on, method='list', **args):
        """The answers to a request that comes in pages."""
        request = getattr(collection, method)(**args)
        while request is not None:
            answer = self.call(request, needs, on)
            yield answer
            request = getattr(collection, method + '_next')(request, answer)


def explain(error, needs, on):
    """One sentence about an answer that is an error, its status, and the permission that was lacking, if any."""
    status = int(error.resp.status)
    try:
        content = json.loads(error.content)['error']
    except (ValueError, KeyError, TypeError):
        content = {}
    words = content.get('message') or error.reason or ''
    info = next((one for one in content.get('details') or [] if 'reason' in one), {})
    if status == 401:
        return f'Google does not take the credential, it may have expired: {LOGIN}', status, None
    if status == 403 and info.get('reason') == 'SERVICE_DISABLED':
        service = info.get('metadata', {}).get('service', 'of this permission')
        return f'the API {service} is off, turn it on with "gcloud services enable {service}"', status, None
    if status == 403:
        named = re.search(r"(?:Permission|Required) '([A-Za-z]+\.[A-Za-z.]+)'", words)
        permission = info.get('metadata', {}).get('permission') or (named[1] if named else needs)
        return f'the identity that runs Ansible needs {permission} on {on}: {brief(words)}', status, permission
    if 'SERVICE_ACCOUNT_ACCESS_DENIED' in str(content.get('errors')):
        permission = 'iam.serviceAccounts.actAs'
        return (
            f'the identity that runs Ansible needs {permission} on the service account: {brief(words)}', status,
            permission)
    if status == 429:
        return f'Google throttles requests and went on doing so after {RETRIES} tries, run it again later', status, None
    return f'{content.get("status") or status} for {needs} on {on}: {brief(words)}', status, None


def brief(words):
    """A message on one line, of a length that can be read."""
    return ' '.join(str(words).split())[:300]
