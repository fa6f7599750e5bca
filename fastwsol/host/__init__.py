"""What all other packages stand on: errors, files, the command line, the device, the processes, the environment, signals."""
