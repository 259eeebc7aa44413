"""Tar streams from strangers: read with every length bounded, written by one small function.

The standard library's reader keeps each member for ever and reads a PAX header of any size into
memory, so it cannot be used on hostile input. Nothing here touches the file system.
"""
