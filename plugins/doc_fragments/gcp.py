# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    """What every module for Google Cloud takes: GCP_ARGS of module_utils.cloud_gcp."""

    DOCUMENTATION = r'''
options:
  project:
    description: The id of the project. E(GOOGLE_CLOUD_PROJECT) unless set.
    type: str
    required: true
  api_endpoint:
    description:
      - Where Google's services are. C({service}) stands for the name of each.
      - As V(https://{service}-NAME.p.googleapis.com) behind a private endpoint.
    type: str
    default: https://{service}.googleapis.com
requirements:
  - google-auth >= 2.23
  - google-api-python-client >= 2.189
notes:
  - Runs where the Python packages for Google Cloud are, as a rule on the controller with C(delegate_to=localhost).
  - The credential is the one that Google calls the application default, so E(GOOGLE_APPLICATION_CREDENTIALS), what
    C(gcloud auth application-default login) has left, or the service account of the instance.
'''
