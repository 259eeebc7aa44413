"""The Dockerfile language: pure values and functions, no file is opened here."""
