"""The kinds of failure: a user's mistake, a process that died, and everything else.

A `UserError` reaches the user as one or two lines without a stack trace, and the program ends with
exit status 2. Its text names the key, the value and the remedy. Our own bugs are `assert`s and
ordinary exceptions, which keep their trace.
"""

from __future__ import annotations


class UserError(ValueError):
    """Something the user can mend: a setting, a file, a missing extra, an unreachable host."""


class SettingError(UserError):
    """A setting whose value cannot be: knows its field, so that the full key can be put before it.

    An option raises it with its own field's name ("num_waits"); `s1x.compose.build` adds the place
    where the option stands ("budget"), so the message reads "budget.num_waits must be ...".
    """

    def __init__(self, field: str, must: str, value: object, remedy: str = "") -> None:
        self.field, self.must, self.value, self.remedy = field, must, value, remedy
        super().__init__(self._text())

    def _text(self) -> str:
        end = f"; {self.remedy}" if self.remedy else ""
        return f"{self.field} must be {self.must}, got {self.value!r}{end}"

    def under(self, key: str) -> SettingError:
        """The same error with the option's place put before the field: `budget.num_waits`."""
        return type(self)(f"{key}.{self.field}", self.must, self.value, self.remedy)


class UnknownSettingError(SettingError):
    """A setting that the class named by `must` does not have."""

    def _text(self) -> str:
        return f"{self.field} is not a setting of {self.must}; {self.remedy}"


def reason_of(error: BaseException) -> str:
    """What a library says of its failure, in a line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


class RunError(RuntimeError):
    """Something outside s1x's own code failed (a process died): a sentence that names its log.

    It is told without a stack trace, and the program ends with exit status 1.
    """
