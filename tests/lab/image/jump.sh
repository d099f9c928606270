#!/bin/sh
# Runs inside a container of the base image: fail2ban as its package leaves it, which finds no log of sshd and gives up.

export DEBIAN_FRONTEND=noninteractive
apt-get -q update
apt-get -qy --no-install-recommends install fail2ban python3-systemd
apt-get clean
