"""Known answers, many seeds: do error bars cover, do controls control? `python -m tests.truth [--quick] [NAME…]`."""
