"""grug as a library: a line, the devices on it by their maps, and the same maps served."""
