"""A run's folder, its checkpoints, its network and its curves."""
