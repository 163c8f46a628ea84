"""Nova driver whose servers are machines with their own systemd, as the beds' hosts are.

The image is a squashfs of a root file system. A server is a layer on it plus a network namespace, wired to a bridge for
each Neutron network; the bridge has the subnet's gateway address. A volume is a loop device that shows up at Nova's
mount point. Several of these drivers, one for each hypervisor, share the slot's namespace.
"""

# ruff: noqa: PLR0917  Nova calls these methods, with its own arguments.

import base64
import os
from pathlib import Path

from nova import conf, exception
from nova.compute import power_state
from nova.image import glance
from nova.virt import fake, node
from osbox_server import STATE, Server, locked, run, volume_of, volumes

CONF = conf.CONF


class OsboxDriver(fake.FakeDriver):
    """Nova's own fake, which keeps the books, with machines behind it."""

    vcpus, memory_mb, local_gb = 64, 131072, 2048

    def get_nodenames_by_uuid(self, refresh=False):
        return {node.get_local_node_uuid(): name for name in self.get_available_nodes()}

    def get_available_resource(self, nodename):
        """Give the node an identity that survives restarts; the fake has none."""
        return {**super().get_available_resource(nodename), "uuid": node.get_local_node_uuid()}

    def default_root_device_name(self, instance, image_meta, root_bdm):
        return "/dev/vda"

    def _image(self, context, image_ref):
        """Mount an image once for all servers of all hypervisors."""
        mounted = STATE / "mounted" / image_ref
        file = STATE / "mounted" / f"{image_ref}.squashfs"
        with locked():
            if mounted.exists():
                return mounted
            if (STATE / "images" / image_ref).exists():
                os.link(STATE / "images" / image_ref, file)  # Glance's own file; a download would only copy it
            else:
                glance.API().download(context, image_ref, dest_path=str(file))
            mounted.mkdir()
            try:
                run("mount", "-t", "squashfs", "-o", "loop,ro", str(file), str(mounted))
            except exception.NovaException:
                mounted.rmdir()
                file.unlink()
                raise
        return mounted

    def spawn(
        self,
        context,
        instance,
        image_meta,
        injected_files,
        admin_password,
        allocations,
        network_info=None,
        block_device_info=None,
        power_on=True,
        accel_info=None,
    ):
        before = (context, instance, image_meta, injected_files, admin_password, allocations)
        super().spawn(*before, network_info, block_device_info, power_on, accel_info)
        server = Server(instance.uuid)
        server.create(self._image(context, instance.image_ref))
        server.settle(instance.hostname, instance.key_data, base64.b64decode(instance.user_data or "").decode())
        for number, vif in enumerate(network_info or []):
            server.plug(number, vif)
        for volume in volumes(block_device_info):
            server.attach(*volume)
        if power_on:
            server.start()

    def destroy(
        self,
        context,
        instance,
        network_info,
        block_device_info=None,
        destroy_disks=True,
        destroy_secrets=True,
    ):
        super().destroy(context, instance, network_info, block_device_info, destroy_disks, destroy_secrets)
        server = Server(instance.uuid)
        if server.directory.exists():
            server.stop(seconds=0)
            for file, mount_point, _ in volumes(block_device_info):
                server.detach(file, mount_point)
            server.destroy()

    def power_off(self, instance, timeout=0, retry_interval=0):
        super().power_off(instance, timeout, retry_interval)
        Server(instance.uuid).stop(seconds=timeout or 20)

    def power_on(self, context, instance, network_info, block_device_info=None, accel_info=None, share_info=None):
        super().power_on(context, instance, network_info, block_device_info, accel_info, share_info)
        Server(instance.uuid).start()

    def reboot(
        self,
        context,
        instance,
        network_info,
        reboot_type,
        block_device_info=None,
        bad_volumes_callback=None,
        accel_info=None,
        share_info=None,
    ):
        Server(instance.uuid).stop(seconds=20 if reboot_type == "SOFT" else 0)
        self.power_on(context, instance, network_info, block_device_info)

    def get_info(self, instance, use_cache=True):
        info = super().get_info(instance, use_cache)
        if not Server(instance.uuid).supervisor():
            info.state = power_state.SHUTDOWN
        return info

    def attach_volume(
        self,
        context,
        connection_info,
        instance,
        mountpoint,
        disk_bus=None,
        device_type=None,
        encryption=None,
    ):
        super().attach_volume(context, connection_info, instance, mountpoint)
        Server(instance.uuid).attach(*volume_of(connection_info, mountpoint))

    def detach_volume(self, context, connection_info, instance, mountpoint, encryption=None):
        super().detach_volume(context, connection_info, instance, mountpoint)
        file, _, _ = volume_of(connection_info, mountpoint)
        if Server(instance.uuid).directory.exists():
            Server(instance.uuid).detach(file, mountpoint)

    def get_console_output(self, context, instance):
        try:
            return (Server(instance.uuid).directory / "console.log").read_bytes()[-65536:]
        except OSError:
            return b""

    def init_host(self, host):
        """Find the servers again after a restart of nova-compute."""
        super().init_host(host)
        for directory in Path(CONF.instances_path).glob("*/root"):
            uuid = directory.parent.name
            state = power_state.RUNNING if Server(uuid).supervisor() else power_state.SHUTDOWN
            self.instances[uuid] = fake.FakeInstance("instance", state, uuid)
