"""What can be read off activations, and what writing it there does."""
