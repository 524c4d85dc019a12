"""Problems whose learning coefficients are known exactly, and holding the samplers to them."""
