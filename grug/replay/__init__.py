"""Replay: the app in virtual time over a recorded session, its answers beside the recorded ones."""
