"""The dashboard: pages for people, made of what the JSON routes answer."""
