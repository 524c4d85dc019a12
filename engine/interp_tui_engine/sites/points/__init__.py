"""What a site is made of: how its kind describes itself, and where it passes on a module."""
