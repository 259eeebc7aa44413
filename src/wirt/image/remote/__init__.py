"""Talking to registries: the OCI distribution specification 1.1 and what came before it.

Pure: ``settings`` (what an administrator configured), ``endpoint`` (where a registry answers),
``challenge`` (who asks for which credentials), ``address`` (which addresses may be followed),
``pace`` (when to try again, when to give up). They do no input or output. ``door`` sends requests
through them, ``auth`` gets tokens, ``repository`` knows the verbs, ``download`` and ``upload`` move
blobs.
"""
