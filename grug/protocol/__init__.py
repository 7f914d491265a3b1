"""Sans-IO Modbus, client and server side; the only package that imports pymodbus."""
