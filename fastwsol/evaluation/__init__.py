"""From maps and predictions to boxes, counts, rates and tables."""
