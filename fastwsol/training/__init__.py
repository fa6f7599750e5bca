"""From a configuration to a trained network: the step, the loop around it, and how steps are carried out."""
