"""dbmod: modules (licence keys, configuration, scripts) on fleets of databases, with Ansible and no agent."""

__version__ = "0.1.0"
