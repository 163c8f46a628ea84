"""Neutron mechanism driver that binds every port at once, without an agent; the Nova driver wires it."""

from neutron_lib import constants
from neutron_lib.api.definitions import portbindings
from neutron_lib.plugins.ml2 import api


class OsboxMechanismDriver(api.MechanismDriver):
    """Ports are ACTIVE as soon as they are bound."""

    connectivity = portbindings.CONNECTIVITY_L2

    def initialize(self) -> None:
        """Nothing is to be set up."""

    def bind_port(self, context: api.PortContext) -> None:
        context.set_binding(
            context.segments_to_bind[0][api.ID],
            portbindings.VIF_TYPE_TAP,
            {portbindings.CAP_PORT_FILTER: True},
            status=constants.PORT_STATUS_ACTIVE,
        )
