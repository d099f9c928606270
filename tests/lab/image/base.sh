#!/bin/sh
# Runs inside the image: leaves a host as bad as real ones are found. The collection has to mend every line of it.

echo 'root:rampart-lab' | chpasswd

useradd --create-home --shell /bin/bash --groups sudo test
echo 'test:test' | chpasswd
echo 'test ALL=(ALL:ALL) NOPASSWD: ALL' >/etc/sudoers.d/test
chmod 0440 /etc/sudoers.d/test
echo '*/5 * * * * touch /tmp/test-was-here' >/var/spool/cron/crontabs/test
chown test:crontab /var/spool/cron/crontabs/test
chmod 0600 /var/spool/cron/crontabs/test

useradd --non-unique --uid 0 --gid 0 --no-create-home --home-dir /root --shell /bin/bash toor
echo 'toor:toor' | chpasswd

useradd --create-home --shell /bin/bash guest
passwd --delete guest

cat >>/etc/ssh/sshd_config <<'EOF'
PermitRootLogin yes
PasswordAuthentication yes
PermitEmptyPasswords yes
EOF

# A developer's web server that nobody switched off.
mkdir -p /srv/leftover
cat >/etc/systemd/system/leftover.service <<'EOF'
[Unit]
Description=Leftover development server
[Service]
ExecStart=/usr/bin/python3 -m http.server --bind :: --directory /srv/leftover 8080
[Install]
WantedBy=multi-user.target
EOF
systemctl enable leftover.service

# Each host gets keys of its own when it is created; timers of apt would only disturb measurements.
rm -f /etc/ssh/ssh_host_*
systemctl mask apt-daily.timer apt-daily-upgrade.timer

# The network is told at start, not what the machine that built the image had.
: >/etc/resolv.conf

# With cgroups of version 1 nobody tells a container's systemd that a user's last process has ended: it waits for two
# minutes, and whoever logs in meanwhile waits with it.
mkdir -p /etc/systemd/logind.conf.d /etc/systemd/system/user@.service.d
printf '[Login]\nUserStopDelaySec=infinity\n' >/etc/systemd/logind.conf.d/lab.conf
printf '[Service]\nTimeoutStopSec=2\n' >/etc/systemd/system/user@.service.d/lab.conf
