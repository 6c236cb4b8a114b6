"""Requests that mean harm, made by code, in families: what is sent and what may come back."""
