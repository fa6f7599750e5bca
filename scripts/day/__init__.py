"""The queue of scripts/gpu_day.py: what is in it, how long it took, and what it found."""
