"""Singular learning theory."""
