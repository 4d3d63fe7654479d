"""The one exception that a user of onebasin can mend, and a check that raises it."""

from typing import Any, get_args


class OneBasinError(ValueError):
    """Something a user can mend: bad input, mismatched checkpoints, an unreadable file.

    The message is one line that names the call or file, what was expected, what came
    and the remedy. The command line prints it and exits with 2.
    """


def check_choice(call: str, name: str, value: str, choices: Any) -> None:
    """Check that an argument is one of the values of a `Literal`.

    Raises:
        OneBasinError: naming the call, the argument and the values it may have.
    """
    known = get_args(choices)
    if value not in known:
        listed = " or ".join(repr(choice) for choice in known)
        raise OneBasinError(f"{call}: {name} is {value!r}; it must be {listed}")
