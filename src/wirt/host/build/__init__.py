"""``wirt build``: from a Dockerfile and a context to an image. Its steps run in guests that nobody
sees, and what they leave becomes layers."""
