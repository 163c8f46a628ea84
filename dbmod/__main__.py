"""`python -m dbmod` is `dbmod`."""

from dbmod.cli import main

main()
