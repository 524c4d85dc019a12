"""Where the processes of a run are started: one file each for this machine and for a scheduler, behind one interface. Torch-free."""
