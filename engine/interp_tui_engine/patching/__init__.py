"""What changes when an activation of one run is put into another."""
