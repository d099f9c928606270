#!/bin/sh
# Runs inside a container of the base image: a database that listens to everybody, with a user for everybody.

export DEBIAN_FRONTEND=noninteractive
apt-get -q update
apt-get -qy --no-install-recommends install mariadb-server
apt-get clean

cat >/etc/mysql/users.sql <<'EOF'
CREATE DATABASE IF NOT EXISTS shop;
CREATE USER IF NOT EXISTS 'shop'@'%' IDENTIFIED BY 'shop';
GRANT ALL ON shop.* TO 'shop'@'%';
EOF
cat >/etc/mysql/mariadb.conf.d/99-open.cnf <<'EOF'
[mariadbd]
bind-address = *
init-file = /etc/mysql/users.sql
EOF
