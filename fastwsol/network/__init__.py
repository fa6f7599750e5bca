"""The networks, their initial weights and the class activation maps."""
