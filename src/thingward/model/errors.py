"""One root error with a stable code; applications map codes to exit and HTTP status."""

from __future__ import annotations


class ThingwardError(Exception):
    """Root of all expected errors.

    Attributes:
        code: stable identifier, `room.reason`, listed in docs/reference/errors.md.
        retryable: whether the same call may succeed later without a change.
        hint: what the reader should do next, one sentence, may be empty.
    """

    code = "internal"
    retryable = False
    status = 500

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message} {self.hint}" if self.hint else message


class InvalidInput(ThingwardError):
    """What the caller gave cannot be used; nothing was changed."""

    code = "input.invalid"
    status = 422


class NotFound(ThingwardError):
    """The named record does not exist in this tenant."""

    code = "record.not_found"
    status = 404


class Conflict(ThingwardError):
    """The record changed since it was read, or the step does not fit its state."""

    code = "record.conflict"
    status = 409


class Forbidden(ThingwardError):
    """The principal's role or token scope does not cover this action."""

    code = "access.forbidden"
    status = 403


class Unauthenticated(ThingwardError):
    """No valid session or token came with the request."""

    code = "access.unauthenticated"
    status = 401


class Unavailable(ThingwardError):
    """Another process or engine is away; try again."""

    code = "engine.unavailable"
    retryable = True
    status = 503


class LimitExceeded(ThingwardError):
    """A bound that protects the fleet or the platform was reached."""

    code = "limit.exceeded"
    status = 429


class UnsupportedHere(ThingwardError):
    """This machine lacks a right or a program that the step needs."""

    code = "machine.unsupported"
    status = 501
