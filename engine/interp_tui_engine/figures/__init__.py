"""Figures as self-contained SVG, for reports and exports. Torch-free."""
