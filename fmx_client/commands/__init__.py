"""The commands of `fmx` that have a module of their own."""
