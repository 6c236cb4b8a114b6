"""What `make report` runs: all questions through a server and worker of its own, as one report."""
