#!/bin/bash
# start_services.sh: start the cloud in the network namespace where this runs, from schemas.tar. Needs STATE,
# ENVIRONMENT, SCHEMAS (the tar file), ADDRESS (where clients reach the services) and NAME (prefix of its servers'
# network namespaces). Whoever made the namespace ends all of it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"
. "$here/configure.sh"

start_rabbit() {
    install -d -o rabbitmq -g rabbitmq "$STATE/rabbit"
    start rabbit setpriv --reuid=rabbitmq --regid=rabbitmq --clear-groups env HOME="$STATE/rabbit" \
        RABBITMQ_NODENAME=osbox@localhost RABBITMQ_NODE_PORT=5672 RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 \
        ERL_EPMD_ADDRESS=127.0.0.1 RABBITMQ_ENABLED_PLUGINS_FILE=/dev/null \
        RABBITMQ_MNESIA_BASE="$STATE/rabbit/db" RABBITMQ_LOG_BASE="$STATE/rabbit/log" \
        RABBITMQ_CONFIG_FILE="$STATE/rabbit/none" RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+S 1:1" \
        /usr/lib/rabbitmq/bin/rabbitmq-server
}

mkdir -p "$STATE"
tar -C "$STATE" -xf "$SCHEMAS"
configure "$ADDRESS"
start_rabbit
start_mariadb
sql keystone -e "update endpoint set url = regexp_replace(url, '//[^:/]+:', '//$ADDRESS:')"
share=$STATE/shares/$(printf localhost:/volumes | md5sum | cut -d ' ' -f 1)
mkdir -p "$share"
touch "$STATE/volumes/.cinderSecureEnvIndicator"
mount --bind "$STATE/volumes" "$share"

serve keystone 5000 keystone.wsgi.api
serve glance 9292 glance.wsgi.api
serve placement 8778 placement.wsgi.api
serve neutron 9696 neutron.wsgi.api
wait_for rabbit "grep -qs 'Server startup complete' $STATE/rabbit/log/*.log"
serve nova 8774 nova.wsgi.osapi_compute
serve cinder 8776 cinder.wsgi.api --config-file "$etc/cinder.conf"
for service in conductor scheduler; do
    start "nova-$service" "nova-$service" --config-file "$etc/nova.conf"
done
for number in 1 2 3; do
    start "nova-compute$number" python "$here/osbox/compute.py" --config-file "$etc/nova-compute$number.conf"
done
for service in scheduler volume; do
    start "cinder-$service" "cinder-$service" --config-file "$etc/cinder.conf"
done
for port in 5000 9292 8778 9696 8774 8776; do wait_for "port $port" "answers $port"; done
