"""Sans-IO Modbus RTU, client and server side; tests hold it to pymodbus and libmodbus."""
