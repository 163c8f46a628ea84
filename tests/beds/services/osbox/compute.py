"""nova-compute that also finds the driver in this folder: nova looks in nova.virt alone."""

import sys
from pathlib import Path

import nova.virt
from nova.cmd import compute

nova.virt.__path__.append(str(Path(__file__).resolve().parent))
sys.exit(compute.main())
