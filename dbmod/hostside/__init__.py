"""What runs on hosts: Python 3.6 or newer, the standard library, nothing else of dbmod.

The same files work in three places: shipped on standard input (dbmod_loader installs them), as
ansible.module_utils.dbmod_kit of an ordinary Ansible module, and on the controller, where contents are validated.
"""
