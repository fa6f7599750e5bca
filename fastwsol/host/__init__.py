"""What all other packages stand on: errors, files, command line, device, processes, environment, signals."""
