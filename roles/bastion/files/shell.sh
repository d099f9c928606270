#!/bin/sh
# Written by the role bastion of rampart.hardening. Do not edit: change the inventory.
# Runs for people who have a shell on this jump server: first as sshd started it, then again under sudo, which records.
# The transfer of files (sftp) is logged file by file and not recorded.
SFTP=/usr/lib/openssh/sftp-server
if [ "$1" != recorded ]; then
    case $SSH_ORIGINAL_COMMAND in
        "$SFTP" | internal-sftp) exec "$SFTP" -l INFO ;;
    esac
    exec sudo -n -u "$(id -un)" -- "$0" recorded
fi
unset SUDO_COMMAND SUDO_USER SUDO_UID SUDO_GID
SHELL=$(getent passwd "$(id -un)" | cut -d: -f7)
export SHELL
if [ -n "$SSH_ORIGINAL_COMMAND" ]; then
    exec "$SHELL" -c "$SSH_ORIGINAL_COMMAND"
fi
exec "$SHELL" -l
