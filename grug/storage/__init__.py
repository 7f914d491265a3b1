"""The log format: blocks, segments, recovery, cursors. Pure."""
