"""The governor: pure decisions about who gets how much of the host. Nothing here does I/O.

``fill`` divides one amount; ``tree`` says who may have what; ``admission`` whether a promise can be
given; ``demand`` what a guest needs, from what was observed; ``plan`` what each is entitled to;
``movement`` which writes lead there, safely. ``simulate`` closes the loop without a kernel.
"""
