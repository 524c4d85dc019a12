"""What any running kind needs: its context, resumable steps, costs. Kinds build on it; it knows none of them."""
