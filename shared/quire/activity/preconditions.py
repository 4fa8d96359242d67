"""Changes that are made only if nobody else was quicker: `If-Match` and `If-None-Match`."""

from __future__ import annotations

from dataclasses import dataclass

from quire.errors import PreconditionFailed


@dataclass(frozen=True, slots=True)
class Precondition:
    """What the caller wants to be so; of what is not there the ETag is None."""

    if_match: str | None = None
    """ETags of which it has to be one, or `*`: it has to be there."""
    if_none_match: str | None = None
    """ETags of which it must be none, or `*`: it must not be there."""

    def require(self, what: str, etag: str | None) -> None:
        """Raise unless it is so."""
        is_now = "is not there" if etag is None else f"is at {etag}"
        if self.if_match is not None and not _names(self.if_match, etag):
            raise PreconditionFailed(f"{what} {is_now}, not at {self.if_match[:200]}", etag=etag)
        if self.if_none_match is not None and _names(self.if_none_match, etag):
            raise PreconditionFailed(
                f"{what} {is_now}, which If-None-Match rules out",
                recovery="Leave If-None-Match out to replace it, or choose another name.",
                etag=etag,
            )


ALWAYS = Precondition()


def _names(tags: str, etag: str | None) -> bool:
    known = [tag.strip() for tag in tags.split(",")]
    return etag is not None and ("*" in known or etag in known)
