"""What a frozen network gives, computed once for each view of an image and kept."""
