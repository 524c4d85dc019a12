"""The terminal and its user: themes, configuration, host, repainting, crash log."""
