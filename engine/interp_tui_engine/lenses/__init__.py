"""What a residual stream would predict if the model ended there."""
