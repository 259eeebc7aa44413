"""The OCI distribution protocol (spec.md, version 1.1) over the use cases of ``host/registry``."""
