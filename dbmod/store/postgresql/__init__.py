"""The ledger in PostgreSQL. One database is one ledger; everything of it is in the schema `dbmod`."""
