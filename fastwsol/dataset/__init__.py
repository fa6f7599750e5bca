"""A packed data set on disk: shards, how they are packed, and how they are read."""
