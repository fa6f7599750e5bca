"""What every room stands on: errors, files, the command line, the device, the processes, the environment, signals."""
