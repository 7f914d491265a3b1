"""Every file descriptor and socket: serial ports, pseudo-terminals, files, databases."""
