"""How much text one vector can take in, and the refusal of more: nothing is embedded truncated."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from quire.embedding.port import Purpose
from quire.errors import ConfigurationError, InvalidInput

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Count = Callable[[Sequence[str]], list[int]]
"""How many tokens each text has, special tokens not counted."""


@dataclass(frozen=True, slots=True)
class Prefixes:
    """What a model wants to see before a question, and before what may answer it."""

    query: str = ""
    passage: str = ""

    def before(self, purpose: Purpose) -> str:
        """What goes before a text of this purpose."""
        return self.query if purpose is Purpose.QUERY else self.passage


@dataclass(frozen=True, slots=True)
class TokenCounter:
    """A model's way to count, and how many special tokens it adds to a text."""

    count: Count
    special: int

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Self:
        """Count as this tokeniser does; works on a copy, as its truncation would hide tokens."""
        own = type(tokenizer).from_str(tokenizer.to_str())
        own.no_truncation()
        own.no_padding()

        def count(texts: Sequence[str]) -> list[int]:
            encoded = own.encode_batch_fast(list(texts), add_special_tokens=False)
            return [len(encoding) for encoding in encoded]

        return cls(count, own.num_special_tokens_to_add(False))

    @classmethod
    def in_file(cls, path: Path) -> Self:
        """Count as the tokeniser in this `tokenizer.json` does."""
        from tokenizers import Tokenizer  # noqa: PLC0415 - only for those who count so

        try:
            return cls.of(Tokenizer.from_buffer(path.read_bytes()))
        except OSError as error:
            why = error.strerror
        except ValueError as error:
            why = str(error)
        raise ConfigurationError(
            f"QUIRE_EMBEDDING_TOKENIZER={path} cannot be read as a tokenizer.json: {why}"
        )

    @classmethod
    def in_bytes(cls) -> Self:
        """Take every byte of UTF-8 for a token: byte-level tokenisers never make more of a text.

        An upper bound, three to four times too high for English. Two special tokens are assumed.
        """
        return cls(lambda texts: [len(text.encode()) for text in texts], 2)


@dataclass(frozen=True, slots=True)
class Window:
    """What a model takes in at once: `limit` tokens with prefix and special tokens."""

    model: str
    limit: int
    tokens: TokenCounter
    prefixes: Prefixes
    size: int
    """The most tokens of text, whatever its purpose."""

    @classmethod
    def of(cls, model: str, limit: int, tokens: TokenCounter, prefixes: Prefixes) -> Self:
        """Work out what the special tokens and the longer prefix leave for text."""
        reserved = max(tokens.count([prefixes.query, prefixes.passage]))
        # Where prefix and text meet, a tokeniser may cut otherwise than in either alone.
        reserved += bool(reserved)
        size = limit - tokens.special - reserved
        if size < 1:
            raise ConfigurationError(
                f"{model} takes in {limit} tokens, of which its prefix and special tokens leave "
                "none for text",
                recovery="Shorten QUIRE_EMBEDDING_QUERY_PREFIX and QUIRE_EMBEDDING_PASSAGE_PREFIX, "
                "or set QUIRE_EMBEDDING_WINDOW to what the model really takes in.",
            )
        return cls(model, limit, tokens, prefixes, size)

    def count(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has."""
        require_unicode(texts)
        return self.tokens.count(texts)

    def require(self, texts: Sequence[str], purpose: Purpose) -> None:
        """Raise `InvalidInput` naming the first text that the model would see only in part."""
        counts = self.count(texts)
        require_fits(self.model, self.size, counts)
        if prefix := self.prefixes.before(purpose):
            room = self.limit - self.tokens.special
            require_fits(self.model, room, self.tokens.count([prefix + text for text in texts]))


def require_fits(model: str, window: int, counts: Sequence[int]) -> None:
    """Raise `InvalidInput` for the first count above the window."""
    for index, count in enumerate(counts):
        if count > window:
            raise InvalidInput(
                f"Text {index} has {count} tokens, and {model} takes in {window}",
                recovery="Cut the text into shorter pieces; nothing is embedded truncated.",
                index=index,
                tokens=count,
                window=window,
            )


def require_unicode(texts: Sequence[str]) -> None:
    """Raise `InvalidInput` for a lone surrogate: no encoding has it, and no tokeniser takes it."""
    for index, text in enumerate(texts):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidInput(
                f"Text {index} has a lone surrogate at character {error.start}, "
                f"U+{ord(text[error.start]):04X}",
                recovery="Send valid Unicode.",
                index=index,
                character=error.start,
            ) from None


def prefix_mark(passage_prefix: str | None) -> str:
    """What a prefix of the operator's adds to an identity's revision: it changes every vector."""
    if passage_prefix is None:
        return ""
    return "passage-prefix-" + hashlib.sha256(passage_prefix.encode()).hexdigest()[:16]
