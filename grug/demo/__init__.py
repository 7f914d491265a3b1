"""The demo: grug's own app against a simulated house, in real time over pty lines or fast."""
