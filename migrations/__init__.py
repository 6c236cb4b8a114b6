"""The tables' revisions: `python -m migrations upgrade` brings a database to the newest one."""
