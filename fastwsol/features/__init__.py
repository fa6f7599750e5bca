"""What a frozen trunk gives, computed once for each view of an image and kept."""
