# Shared by build_schemas.sh and start_services.sh; everything runs in a network namespace of its own, so the ports are
# always the same. Needs STATE (where the cloud keeps everything) and ENVIRONMENT (the virtual environment).

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
etc=$STATE/etc
log=$STATE/log
export OS_CLIENT_CONFIG_FILE=$STATE/clouds.yaml PATH=$here/osbox/bin:$ENVIRONMENT/bin:$PATH PYTHONPATH=$here/osbox
export OS_KEYSTONE_CONFIG_DIR=$etc OS_GLANCE_CONFIG_DIR=$etc OS_PLACEMENT_CONFIG_DIR=$etc OS_NOVA_CONFIG_DIR=$etc \
    OS_NEUTRON_CONFIG_DIR=$etc OS_NEUTRON_CONFIG_FILES=neutron.conf

wait_for() {
    deadline=$((SECONDS + 240))
    until eval "$2" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || {
            echo "ERROR: $1 did not come; its log is in $log" >&2
            exit 1
        }
        sleep 0.2
    done
}

# Start a daemon in a session of its own.
start() {
    name=$1
    shift
    setsid "$@" >>"$log/$name.log" 2>&1 </dev/null &
}

start_mariadb() {
    # A test bed's database need not survive a power cut.
    start mariadb mariadbd --no-defaults --user=mysql --datadir="$STATE/mysql" --socket="$STATE/mysql/socket" \
        --pid-file="$STATE/mysql/pid" --bind-address=127.0.0.1 --port=3306 --innodb-flush-log-at-trx-commit=0 \
        --innodb-flush-method=nosync --innodb-doublewrite=0 --innodb-log-file-size=64M --skip-name-resolve \
        --max-connections=500 --performance-schema=0
    wait_for mariadb "sql -e 'select 1'"
}

sql() {
    mariadb --no-defaults -uroot -S "$STATE/mysql/socket" "$@"
}

# Serve a WSGI application: NAME PORT MODULE ARGUMENTS
serve() {
    start "$1" python "$here/osbox/serve.py" "$3" "$2" "${@:4}"
}

answers() {
    curl -s -o /dev/null -m 5 "http://127.0.0.1:$1"
}
