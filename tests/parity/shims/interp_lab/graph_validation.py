"""A name that tests import, of what has no counterpart here."""


class GraphValidationWriteResult:
    """Nothing here makes one."""
