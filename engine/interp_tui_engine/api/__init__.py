"""The Python interface: the names and signatures of devinterp, interp-lab and interpretability-toolkit on this engine."""
