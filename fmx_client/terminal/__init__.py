"""What the command line shows: tables, live progress, pictures."""
