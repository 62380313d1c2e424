"""The commands of `python -m labtether` that are more than a few lines: a module each, with `add` for its arguments."""
