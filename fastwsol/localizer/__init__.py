"""Where the object is: localizers make of a network's features, and of what is trained behind it, one map an image."""
