"""The use cases: the only place where images, networks, volumes and engines meet."""
