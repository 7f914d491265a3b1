"""house.toml: its types, what may be wrong with it, and where in the file that is. Pure."""
