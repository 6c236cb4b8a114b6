"""`make demo`: Q1 from a submitted spec to predictions, through the real server and worker."""
