"""The acceptance of fastwsol on a GPU, a module a phase; the command is scripts/accept_gpu.py."""
