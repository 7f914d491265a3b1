"""grug steers a house's energy over Modbus."""
