"""The one exception that a user of onebasin can mend."""


class OneBasinError(ValueError):
    """Something a user can mend: bad input, mismatched checkpoints, an unreadable file.

    The message is one line that names the call or file, what was expected, what came
    and the remedy. The command line prints it and exits with 2.
    """
