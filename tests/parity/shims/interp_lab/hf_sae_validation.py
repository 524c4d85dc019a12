"""A name that tests import, of what has no counterpart here."""


class HfSaePathValidationResult:
    """Nothing here makes one."""
