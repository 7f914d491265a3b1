"""What a house must keep to, one file per part of it; ``config.check`` asks them all."""
