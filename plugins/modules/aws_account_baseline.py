#!/usr/bin/python
# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r'''
module: aws_account_baseline
short_description: What an Amazon account does where nobody said otherwise
version_added: "0.2.0"
author: The rampart authors (@rampart-hardening)
description:
  - New EBS volumes and snapshots are encrypted, snapshots and S3 are shut to the public, and new instances ask whoever
    wants their credentials for a token (IMDSv2).
  - All but S3 are settings of a region, and are set in each of O(regions).
  - What is public when this is run is told. It stops being so.
  - A setting is never loosened; one that is switched off here is left as it is.
options:
  regions:
    description: The regions. By default the one that the module is run for.
    type: list
    elements: str
  ebs_encryption:
    description: Whether new volumes and snapshots are encrypted.
    type: bool
    default: true
  ebs_kms_key:
    description: >-
      Key for that, by id, ARN or alias. Without this option the region keeps its key. Of several regions each must know
      it, as by alias.
    type: str
  snapshot_public_access:
    description: Whether snapshots can be shared with everybody.
    type: str
    choices: [block-all-sharing, block-new-sharing, unblocked]
    default: block-all-sharing
  s3_public_access_block:
    description: Whether no bucket and no object of the account can be public.
    type: bool
    default: true
  metadata_tokens:
    description: Whether new instances ask for a token where whoever starts them says nothing.
    type: bool
    default: true
  metadata_hop_limit:
    description: How far their metadata service answers. Containers behind a bridge need V(2).
    type: int
    choices: [1, 2]
    default: 1
  metadata_enforced:
    description: >-
      Whether instances that do without tokens are not started any more. Takes boto3 of March 2026 or newer.
    type: bool
    default: false
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
attributes:
  check_mode:
    description: Can run in check mode and predicts exactly what a run then changes.
    support: full
  diff_mode:
    description: Returns the settings before and after.
    support: full
notes:
  - The least permissions that this takes are in C(docs/policies/aws-operator.json) of the collection.
'''

EXAMPLES = r'''
- name: Sane defaults
  rampart.hardening.aws_account_baseline:
    regions: [eu-central-1, eu-west-1]
    ebs_kms_key: alias/disks
'''

RETURN = r'''
settings:
  description: The settings as they are left, or would be, of the account and of each region.
  returned: success
  type: dict
public_snapshots:
  description: Snapshots that were shared with everybody, by region.
  returned: success
  type: dict
public_buckets:
  description: Buckets whose policy let everybody in. Those that were public by other means are not known.
  returned: success
  type: list
  elements: str
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

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.rampart.hardening.plugins.module_utils.cloud_aws import Aws

READS = (
    'get_instance_metadata_defaults',
    'get_ebs_encryption_by_default',
    'get_ebs_default_kms_key_id',
    'get_snapshot_block_public_access_state',
)
METADATA = ('HttpTokens', 'HttpPutResponseHopLimit', 'HttpTokensEnforced')
S3_BLOCK = ('BlockPublicAcls', 'BlockPublicPolicy', 'IgnorePublicAcls', 'RestrictPublicBuckets')


def main():
    module = AnsibleAWSModule(
        argument_spec=dict(
            regions=dict(type='list', elements='str'),
            ebs_encryption=dict(type='bool', default=True),
            ebs_kms_key=dict(type='str', no_log=False),
            snapshot_public_access=dict(
                type='str',
                choices=['block-all-sharing', 'block-new-sharing', 'unblocked'],
                default='block-all-sharing',
            ),
            s3_public_access_block=dict(type='bool', default=True),
            metadata_tokens=dict(type='bool', default=True),
            metadata_hop_limit=dict(type='int', choices=[1, 2], default=1),
            metadata_enforced=dict(type='bool', default=False),
        ),
        supports_check_mode=True,
    )
    Baseline(module).run()


class Baseline:
    '''The account's settings and those of its regions.'''

    def __init__(self, module):
        self.module, self.params, self.aws = module, module.params, Aws(module)

    def run(self):
        regions = self.params['regions'] or [self.module.region]
        account = {'AccountId': self.aws.identity()['account']}
        before = {'account': self.account_has(account), **{region: self.region_has(region) for region in regions}}
        after = {
            place: self.account_wants(have) if place == 'account' else self.region_wants(place, have)
            for place, have in before.items()
        }
        opened = {
            'public_buckets': self.public_buckets() if before['account'] != after['account'] else [],
            'public_snapshots': {
                region: self.public_snapshots(region)
                for region in regions
                if before[region]['snapshot_public_access'] != after[region]['snapshot_public_access']
            },
        }
        if not self.module.check_mode:
            if before['account'] != after['account']:
                self.aws.write(
                    'S3 shut to the public', 's3control', 'put_public_access_block', **account,
                    PublicAccessBlockConfiguration=after['account'],
                )
            for region in regions:
                self.set(region, before[region], after[region])
        changed = before != after
        self.module.exit_json(changed=changed, diff={'before': before, 'after': after}, settings=after, **opened)

    def account_has(self, account):
        absent = ('NoSuchPublicAccessBlockConfiguration',)
        found = self.aws.call('s3control', 'get_public_access_block', **account, absent=absent)
        block = found['PublicAccessBlockConfiguration'] if found else {}
        return {name: block.get(name, False) for name in S3_BLOCK}

    def account_wants(self, have):
        return {name: self.params['s3_public_access_block'] or have[name] for name in S3_BLOCK}

    def region_has(self, region):
        ec2 = {operation: self.aws.call('ec2', operation, region=region) for operation in READS}
        metadata = ec2['get_instance_metadata_defaults'].get('AccountLevel', {})
        return {
            'ebs_encryption': ec2['get_ebs_encryption_by_default']['EbsEncryptionByDefault'],
            'ebs_kms_key': ec2['get_ebs_default_kms_key_id']['KmsKeyId'],
            'snapshot_public_access': ec2['get_snapshot_block_public_access_state']['State'],
            'metadata': {name: metadata.get(name) for name in METADATA},
        }

    def region_wants(self, region, have):
        order = ['unblocked', 'block-new-sharing', 'block-all-sharing']
        metadata = {'HttpTokens': 'required', 'HttpPutResponseHopLimit': self.params['metadata_hop_limit']}
        if self.params['metadata_enforced']:
            metadata['HttpTokensEnforced'] = 'enabled'
        return {
            'ebs_encryption': self.params['ebs_encryption'] or have['ebs_encryption'],
            'ebs_kms_key': self.key(region, have['ebs_kms_key']),
            'snapshot_public_access': max(
                self.params['snapshot_public_access'], have['snapshot_public_access'], key=order.index
            ),
            'metadata': {**have['metadata'], **(metadata if self.params['metadata_tokens'] else {})},
        }

    def key(self, region, have):
        '''The ARN of the key that is wanted, which must be one that works: with another no instance would start.'''
        if not self.params['ebs_kms_key']:
            return have
        key = self.aws.call('kms', 'describe_key', KeyId=self.params['ebs_kms_key'], region=region)['KeyMetadata']
        if key['KeyState'] != 'Enabled' or key.get('KeySpec', 'SYMMETRIC_DEFAULT') != 'SYMMETRIC_DEFAULT':
            self.aws.fail(
                f"The key {self.params['ebs_kms_key']} in {region} is {key['KeyState']} and of kind"
                f" {key.get('KeySpec')}: disks need an enabled symmetric one."
            )
        return key['Arn']

    def public_snapshots(self, region):
        found = self.aws.call(
            'ec2', 'describe_snapshots', region=region, OwnerIds=['self'], RestorableByUserIds=['all']
        )
        return sorted(one['SnapshotId'] for one in found['Snapshots'])

    def public_buckets(self):
        found = []
        for bucket in self.aws.call('s3', 'list_buckets')['Buckets']:
            name, absent = bucket['Name'], ('NoSuchBucketPolicy', 'NoSuchBucket')
            status = self.aws.call('s3', 'get_bucket_policy_status', Bucket=name, absent=absent)
            if status and status['PolicyStatus']['IsPublic']:
                found.append(name)
        return sorted(found)

    def set(self, region, before, after):
        '''Change in one region what differs.'''
        differs = {name for name in before if before[name] != after[name]}
        at = {'region': region}
        if 'ebs_kms_key' in differs:
            self.aws.write(
                f'key of disks in {region} set', 'ec2', 'modify_ebs_default_kms_key_id', **at,
                KmsKeyId=after['ebs_kms_key'],
            )
        if 'ebs_encryption' in differs:
            self.aws.write(f'disks in {region} encrypted', 'ec2', 'enable_ebs_encryption_by_default', **at)
        if 'snapshot_public_access' in differs:
            self.aws.write(
                f'snapshots in {region} shut', 'ec2', 'enable_snapshot_block_public_access', **at,
                State=after['snapshot_public_access'],
            )
        if 'metadata' in differs:
            self.aws.write(
                f'metadata defaults in {region} set', 'ec2', 'modify_instance_metadata_defaults', **at,
                **{name: value for name, value in after['metadata'].items() if value is not None},
            )


if __name__ == '__main__':
    main()
