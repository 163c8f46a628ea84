"""Test beds: real machines on this one, reached by SSH, and a real OpenStack whose servers are such machines.

Each bed lives in a slot: a network namespace, an address range, a directory and a prefix of names of its own. What is
in a slot can be found and removed by these alone, also after a crash.
"""
