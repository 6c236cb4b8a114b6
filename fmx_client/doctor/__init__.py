"""`fmx doctor`: what of this program, this machine and the server works, and what helps."""
