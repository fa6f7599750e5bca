"""Many trainings: their settings, where they run, how long they take, and the tables over seeds."""
