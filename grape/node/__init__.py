"""A Grenache node without HTTP: services by name, items by hash, and the upkeep of both."""
