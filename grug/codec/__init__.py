"""Words to physical values and back; loading and checking register maps. Pure."""
