"""The parts of a report's page that are not Python."""
