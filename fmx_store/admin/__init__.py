"""`fmx admin`: what whoever runs a server does with its record and storage, beside the server."""
