#!/bin/sh
# Runs inside a container of the base image: a web server on 80 and 443 with a self-signed certificate.

export DEBIAN_FRONTEND=noninteractive
apt-get -q update
apt-get -qy --no-install-recommends install nginx-light ssl-cert
apt-get clean

cat >/etc/nginx/sites-available/default <<'EOF'
server {
    listen 80 default_server;
    listen [::]:80 default_server;
    listen 443 ssl default_server;
    listen [::]:443 ssl default_server;
    include snippets/snakeoil.conf;
    root /var/www/html;
}
EOF
