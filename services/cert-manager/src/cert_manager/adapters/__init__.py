"""The world outside: database, keys, certificates."""
