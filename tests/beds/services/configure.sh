# configure ADDRESS: write the configuration of all services below $STATE/etc. ADDRESS is where clients reach them.

database() {
    echo "mysql+pymysql://root@127.0.0.1:3306/$1?charset=utf8"
}

credentials="auth_url = http://127.0.0.1:5000/v3
auth_type = password
username = svc
password = osbox
project_name = service
user_domain_id = default
project_domain_id = default
region_name = RegionOne"

authentication() {
    echo "[keystone_authtoken]
$credentials
www_authenticate_uri = http://127.0.0.1:5000/v3
service_token_roles = service
service_token_roles_required = true
[service_user]
send_service_user_token = true
$credentials
[oslo_concurrency]
lock_path = $STATE/locks"
}

configure() {
    mkdir -p "$etc" "$log" "$STATE"/{locks,images,mounted,cinder,volumes,shares}
    configure_keystone
    configure_glance
    configure_placement
    configure_neutron
    configure_cinder
    for number in 1 2 3; do configure_nova "$number"; done
    ln -sf "$ENVIRONMENT/etc/nova/api-paste.ini" "$etc/api-paste.ini"
    {
        echo 'clouds:'
        configure_client admin "$1"
        configure_client demo "$1"
    } >"$STATE/clouds.yaml"
    {
        echo 'clouds:'
        configure_client demo "$1"
    } >"$STATE/demo.yaml"
}

configure_client() {
    cat <<E2
  osbox-$1:
    auth:
      auth_url: http://$2:5000/v3
      username: $1
      password: osbox
      project_name: $1
      user_domain_id: default
      project_domain_id: default
    region_name: RegionOne
E2
}

configure_keystone() {
    cat >"$etc/keystone.conf" <<E2
[database]
connection = $(database keystone)
[fernet_tokens]
key_repository = $STATE/fernet
[fernet_receipts]
key_repository = $STATE/fernet
[credential]
key_repository = $STATE/credkeys
[identity]
password_hash_rounds = 4
[cache]
enabled = true
backend = oslo_cache.dict
E2
}

configure_glance() {
    cat >"$etc/glance-api.conf" <<E2
[DEFAULT]
enabled_backends = file:file
[glance_store]
default_backend = file
[file]
filesystem_store_datadir = $STATE/images
[os_glance_staging_store]
filesystem_store_datadir = $STATE/glance-staging
[os_glance_tasks_store]
filesystem_store_datadir = $STATE/glance-tasks
[paste_deploy]
flavor = keystone
config_file = $ENVIRONMENT/etc/glance/glance-api-paste.ini
[database]
connection = $(database glance)
$(authentication)
E2
}

configure_placement() {
    cat >"$etc/placement.conf" <<E2
[placement_database]
connection = $(database placement)
$(authentication)
E2
}

configure_neutron() {
    cat >"$etc/neutron.conf" <<E2
[DEFAULT]
transport_url = fake://
core_plugin = ml2
service_plugins = router
api_paste_config = $ENVIRONMENT/etc/neutron/api-paste.ini
state_path = $STATE/neutron
dhcp_agent_notification = false
api_workers = 0
rpc_workers = 0
[ml2]
type_drivers = local,flat
tenant_network_types = local
mechanism_drivers = osbox
extension_drivers = port_security
[ml2_type_flat]
flat_networks = *
[database]
connection = $(database neutron)
[nova]
$credentials
[placement]
$credentials
$(authentication)
E2
}

configure_cinder() {
    # Its "NFS" share is a directory that is mounted where the driver expects the share.
    echo localhost:/volumes >"$etc/shares"
    cat >"$etc/cinder.conf" <<E2
[DEFAULT]
transport_url = rabbit://guest:guest@127.0.0.1:5672/
host = osbox
my_ip = 127.0.0.1
state_path = $STATE/cinder
rootwrap_config = $ENVIRONMENT/etc/cinder/rootwrap.conf
api_paste_config = $ENVIRONMENT/etc/cinder/api-paste.ini
resource_query_filters_file = $ENVIRONMENT/etc/cinder/resource_filters.json
enabled_backends = files
default_volume_type = __DEFAULT__
glance_api_servers = http://127.0.0.1:9292
[files]
volume_driver = cinder.volume.drivers.nfs.NfsDriver
volume_backend_name = files
nfs_shares_config = $etc/shares
nfs_mount_point_base = $STATE/shares
nas_secure_file_operations = true
nas_secure_file_permissions = true
nfs_snapshot_support = false
[database]
connection = $(database cinder)
[glance]
$credentials
[nova]
$credentials
$(authentication)
E2
}

# One for each hypervisor: they differ in their host and in where it keeps its servers.
configure_nova() {
    cat >"$etc/nova-compute$1.conf" <<E2
[DEFAULT]
transport_url = rabbit://guest:guest@127.0.0.1:5672/
host = osbox$1
my_ip = 127.0.0.1
state_path = $STATE/nova$1
compute_driver = osbox_driver.OsboxDriver
force_config_drive = true
vif_plugging_is_fatal = false
vif_plugging_timeout = 0
use_rootwrap_daemon = false
[wsgi]
api_paste_config = $ENVIRONMENT/etc/nova/api-paste.ini
[api_database]
connection = $(database nova_api)
[database]
connection = $(database nova)
[scheduler]
workers = 1
discover_hosts_in_cells_interval = 2
[conductor]
workers = 1
[libvirt]
nfs_mount_point_base = $STATE/shares
[vnc]
enabled = false
[placement]
$credentials
[neutron]
$credentials
[glance]
endpoint_override = http://127.0.0.1:9292
$credentials
[cinder]
$credentials
catalog_info = block-storage::publicURL
[workarounds]
disable_rootwrap = true
$(authentication)
E2
    mkdir -p "$STATE/nova$1/instances"
    [ "$1" != 1 ] || cp "$etc/nova-compute1.conf" "$etc/nova.conf"
}
