#!/bin/sh
# Written by the role bastion of rampart.hardening. Do not edit: change the inventory.
# Runs for people who have a shell on this jump server: first as sshd started it, then again under sudo, which records.
# The transfer of files (sftp) is logged file by file and not recorded. For those who pass through it refuses.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
SFTP=/usr/lib/openssh/sftp-server
if [ "$1" = refuse ]; then
    echo 'No shell here: this server passes connections on, with ssh -J.' >&2
    exit 1
fi
if [ "$1" != recorded ]; then
    case $SSH_ORIGINAL_COMMAND in
        "$SFTP" | internal-sftp) exec "$SFTP" -l INFO ;;
    esac
    exec sudo -n -u "$(id -un)" -- "$0" recorded
fi
# What sshd emptied or took away, so that nothing in the home runs before the recording does
unset SUDO_COMMAND SUDO_HOME SUDO_USER SUDO_UID SUDO_GID
unset BASHOPTS BASH_ENV ENV LD_AUDIT LD_LIBRARY_PATH LD_PRELOAD PS4 SHELLOPTS XDG_CONFIG_HOME ZDOTDIR
IFS=: read -r _ _ _ _ _ HOME SHELL <<END
$(getent passwd "$(id -un)")
END
PATH=/usr/local/bin:/usr/bin:/bin:/usr/games
export HOME SHELL PATH
[ -t 0 ] || unset TMOUT # which ends an idle bash, also the one of `ssh -t jump1 bash`, and bounds `read` in scripts
if [ -n "$SSH_ORIGINAL_COMMAND" ]; then
    exec "$SHELL" -c "$SSH_ORIGINAL_COMMAND"
fi
exec "$SHELL" -l
