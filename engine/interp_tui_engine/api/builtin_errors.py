"""Errors of the Python interface are also of the built-in types that the libraries raise whose names it has.

Code that moves here keeps its `except ValueError`. Within the engine the types stay apart: there a ValueError is a parser's and is caught
as one, while a UserError is for the user to read.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from ..errors import RunFailed, UserError

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
BUILTIN: dict[type[Exception], type[Exception]] = {UserError: ValueError, RunFailed: RuntimeError}
ALREADY = (ValueError, TypeError, KeyError, RuntimeError)


def with_builtin_errors(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """`function`, whose UserErrors are ValueErrors too, unless they have a built-in type already, and whose RunFailed is a RuntimeError."""

    @functools.wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            return function(*args, **kwargs)
        except tuple(BUILTIN) as error:
            if isinstance(error, ALREADY):
                raise
            raise _also_builtin(error).with_traceback(error.__traceback__) from error.__cause__

    return call


def _also_builtin(error: Exception) -> Exception:
    """The same error, of a type that derives from its own and from the built-in one."""
    both = _type_of_both(type(error))
    promoted = both.__new__(both, *error.args)  # not by its constructor, whose arguments its attributes hold by now
    promoted.__dict__.update(error.__dict__)
    return promoted


def _type_of_both(own: type[Exception]) -> type[Exception]:
    builtin = next(builtin for ours, builtin in BUILTIN.items() if issubclass(own, ours))
    return type(own.__name__, (own, builtin), {"__module__": own.__module__, "__doc__": own.__doc__})
