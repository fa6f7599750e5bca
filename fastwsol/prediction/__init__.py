"""A trained network on images that nobody has labelled, and the files that its boxes go to."""
