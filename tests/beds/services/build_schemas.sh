#!/bin/bash
# Make the databases of all services, with the users and the catalog: mysql, fernet and credkeys below $STATE.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"
. "$here/configure.sh"

sync_keystone() {
    keystone() { keystone-manage --config-file "$etc/keystone.conf" "$@"; }
    keystone db_sync
    keystone fernet_setup --keystone-user root --keystone-group root
    keystone credential_setup --keystone-user root --keystone-group root
    keystone bootstrap --bootstrap-password osbox --bootstrap-public-url http://127.0.0.1:5000/v3 \
        --bootstrap-internal-url http://127.0.0.1:5000/v3 --bootstrap-region-id RegionOne
}

sync_nova() {
    nova() { nova-manage --config-file "$etc/nova.conf" "$@"; }
    nova api_db sync
    nova cell_v2 map_cell0 --database_connection "$(database nova_cell0)"
    nova db sync
    nova cell_v2 create_cell --name cell1
}

sync_neutron() {
    neutron-db-manage --config-file "$etc/neutron.conf" upgrade heads
}

sync_rest() {
    cinder-manage --config-file "$etc/cinder.conf" db sync
    glance-manage --config-file "$etc/glance-api.conf" db_sync
    placement-manage --config-file "$etc/placement.conf" db sync
}

ip link set lo up
configure 127.0.0.1
install -d -o mysql -g mysql "$STATE/mysql"
mariadb-install-db --no-defaults --user=mysql --datadir="$STATE/mysql" --skip-test-db \
    --auth-root-authentication-method=normal
start_mariadb
for name in keystone glance placement neutron cinder nova_api nova nova_cell0; do
    sql -e "create database $name character set utf8"
done
for service in keystone nova neutron rest; do
    (set -e; "sync_$service") >"$log/sync-$service.log" 2>&1 &
    syncs[$!]=$service
done
for sync in "${!syncs[@]}"; do
    wait "$sync" || {
        tail -n 20 "$log/sync-${syncs[$sync]}.log"
        exit 1
    }
done
serve keystone 5000 keystone.wsgi.api
wait_for keystone 'answers 5000/v3'
python "$here/osbox/seed.py"
mariadb-admin --no-defaults -uroot -S "$STATE/mysql/socket" shutdown
while [ -e "$STATE/mysql/pid" ]; do sleep 0.1; done
