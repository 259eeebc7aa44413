"""The checks of a Dockerfile: BuildKit's rules by their names, each a small pure function."""
