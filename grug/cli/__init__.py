"""The grug command: a few lines each."""
