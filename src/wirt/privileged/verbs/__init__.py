"""What the helper does for each verb: one module per noun, found by looking into this package.

A module here exposes

``HANDLERS: tuple[Route, ...]``
    made by :func:`wirt.privileged.context.on`::

        HANDLERS = (on(MakeVolume, make_volume), on(DropVolume, drop_volume))

    A handler is ``def f(ctx: Context, verb: MakeVolume, fds: Sequence[int]) -> Done``. It returns
    the verb's answer, or :class:`~wirt.privileged.context.Sent` to send descriptors along. It
    does not close ``fds`` (the server does), and reports failures by raising: a
    :class:`~wirt.errors.WirtError`, or an OSError with its call and path. For a verb with
    ``slow = True`` it runs in a forked child that dies with the helper and with the connection
    that asked; otherwise in the helper's loop, where it must not wait for anything.

``SWEEPERS: tuple[Sweeper, ...]`` (optional)
    functions ``def f(ctx: Context, sweep: Sweep) -> Iterable[str]`` that remove this instance's
    leftovers of that noun and tell each in one line. Order between modules: by module name.

A verb without a handler, or with two, stops the helper at start-up. Nothing else is needed to add
one, besides its message in ``protocol.py``.
"""
