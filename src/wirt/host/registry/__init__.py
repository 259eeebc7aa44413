"""The registry: what an OCI distribution server does, over the same blobs as the images."""
