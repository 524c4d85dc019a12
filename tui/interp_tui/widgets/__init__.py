"""Building blocks that know neither sessions nor run folders."""
