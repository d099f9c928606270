#!/usr/bin/env bash
# The whole story on throw-away hosts: bad as they are, attacked, hardened through their jump server, attacked again,
# verified. Run again, it finds the fleet as it left it, and nothing to change.
set -euo pipefail
cd "$(dirname "$0")/../.."

step() { printf '\n[%4d s] %s\n\n' "$SECONDS" "$*"; }
status=0

step "Build a fleet: a jump server, a web server, a database, a test host"
python tests/lab/lab.py up
inventory=$PWD/.cache/lab/fleet/inventory
evidence=$PWD/.cache/evidence
export ANSIBLE_VAULT_PASSWORD_FILE=$PWD/.cache/lab/fleet/vault-password

step "Attack it as it is"
python tests/lab/attack.py before

step "Enrol its administrators in codes: ansible-playbook rampart.hardening.mfa_enrol"
ansible-playbook -i "$inventory" rampart.hardening.mfa_enrol -e "mfa_enrol_output=$PWD/.cache/lab/fleet/enrolled"
ansible-vault view .cache/lab/fleet/enrolled/bob.txt | head -n 30 || true

step "Harden it: ansible-playbook rampart.hardening.site"
ansible-playbook -i "$inventory" rampart.hardening.site

step "Attack it again"
python tests/lab/attack.py after || status=1

step "Log in as bob, with key and code"
python tests/lab/login.py bob jump1 || status=1

step "Verify it: ansible-playbook rampart.hardening.verify"
ansible-playbook -i "$inventory" rampart.hardening.verify -e "verify_output=$evidence" || status=1

step "Done. Every control on every host, and what was seen: $evidence/latest/report.html"
echo "Vault password: export ANSIBLE_VAULT_PASSWORD_FILE=$ANSIBLE_VAULT_PASSWORD_FILE"
echo "Look around:    tests/lab/lab.py status; tests/lab/lab.py exec web1"
echo "Take it back:   ansible-playbook -i $inventory rampart.hardening.undo -e undo=all"
echo "Remove it all:  make clean"
exit "$status"
