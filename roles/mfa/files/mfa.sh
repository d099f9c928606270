#!/bin/sh
# Written by the role mfa of rampart.hardening. Do not edit: change the inventory.
# What PAM cannot tell by itself: run by pam_exec, exit status 0 is yes.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
case $1 in
    key) # sshd has seen a key before it asked PAM
        case $SSH_AUTH_INFO_0 in "publickey "*) exit 0 ;; esac
        ;;
    hardware) # and it was one that lives in hardware
        case $SSH_AUTH_INFO_0 in "publickey sk-"*) exit 0 ;; esac
        ;;
    grace) # today is not after this day
        [ "$(date -u +%Y%m%d)" -le "$2" ] && exit 0
        ;;
    duo) # pam_duo lets everybody in where its configuration is not root's alone, or is not what it understands
        [ "$(stat -c %u:%a "$2")" = 0:600 ] && [ "$(sha256sum <"$2")" = "$3  -" ] && exit 0
        ;;
esac
exit 1
