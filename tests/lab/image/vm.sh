#!/bin/sh
# Runs inside a container of the base image: what a machine of its own needs beyond it.

export DEBIAN_FRONTEND=noninteractive
# Few modules, as the virtual hardware is known: the initial RAM disk is unpacked under emulation
mkdir -p /etc/initramfs-tools/conf.d
echo 'MODULES=list' >/etc/initramfs-tools/conf.d/lab
printf 'virtio_pci\nvirtio_blk\next4\n' >/etc/initramfs-tools/modules
mkdir -p /etc/default/grub.d
cat >/etc/default/grub.d/lab.cfg <<'END'
GRUB_TIMEOUT=0
GRUB_CMDLINE_LINUX="net.ifnames=0 console=ttyS0"
END
echo 'grub-pc grub-pc/install_devices_empty boolean true' | debconf-set-selections
apt-get -q update
apt-get -qy --no-install-recommends install \
    apparmor e2fsprogs grub-pc kmod linux-image-cloud-amd64 qemu-guest-agent udev
apt-get clean

# vm.py boots it the first time past the boot loader, by these names
ln -s "$(cd /boot && ls -d vmlinuz-*)" /boot/lab-kernel
ln -s "$(cd /boot && ls -d initrd.img-*)" /boot/lab-initrd
echo '/dev/vda1 / ext4 errors=remount-ro 0 1' >/etc/fstab

# The lab's network as vm.py plugs it in: eth0 comes with the host's files, eth1 is the way out
mkdir -p /etc/systemd/network
printf '[Match]\nName=eth1\n[Network]\nAddress=10.0.2.15/24\nGateway=10.0.2.2\nLinkLocalAddressing=no\n' \
    >/etc/systemd/network/way-out.network
systemctl enable systemd-networkd.service
systemctl disable systemd-networkd-wait-online.service
# Timers would only disturb measurements; what the base image has against containers' troubles goes
systemctl mask dpkg-db-backup.timer e2scrub_all.timer fstrim.timer e2scrub_reap.service
rm -r /etc/systemd/logind.conf.d/lab.conf /etc/systemd/system/user@.service.d
