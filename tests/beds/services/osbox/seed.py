"""Fill Keystone: the user of the services, their endpoints, and the tenant `demo`.

The endpoints' address is set when a cloud is started.
"""

import openstack

ENDPOINTS = {
    ("glance", "image"): "http://127.0.0.1:9292",
    ("placement", "placement"): "http://127.0.0.1:8778",
    ("nova", "compute"): "http://127.0.0.1:8774/v2.1",
    ("neutron", "network"): "http://127.0.0.1:9696",
    ("cinder", "block-storage"): "http://127.0.0.1:8776/v3",
    ("cinderv3", "volumev3"): "http://127.0.0.1:8776/v3",
}

identity = openstack.connect(cloud="osbox-admin").identity
for (name, kind), url in ENDPOINTS.items():
    service = identity.create_service(name=name, type=kind)
    for interface in ("public", "internal"):
        identity.create_endpoint(service_id=service.id, interface=interface, url=url, region_id="RegionOne")
for user_name, project_name, role_names in [("svc", "service", ["admin", "service"]), ("demo", "demo", ["member"])]:
    project = identity.create_project(name=project_name, domain_id="default")
    user = identity.create_user(name=user_name, password="osbox", domain_id="default", default_project_id=project.id)
    for role_name in role_names:
        role = identity.find_role(role_name) or identity.create_role(name=role_name)
        identity.assign_project_role_to_user(project, user, role)
