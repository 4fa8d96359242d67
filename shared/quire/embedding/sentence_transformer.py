"""Any model of the sentence-transformers library, by name or path, run in this process."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from quire.embedding.port import Identity, Lane, Purpose, Vectors
from quire.embedding.threads import LaneThreads
from quire.embedding.units import unit_vectors
from quire.embedding.weights import MODEL
from quire.embedding.window import Prefixes, TokenCounter, Window, prefix_mark
from quire.errors import ConfigurationError, EmbeddingMismatch
from quire.settings import EmbeddingSettings

PROVIDER = "sentence-transformers"
LIBRARY = "sentence_transformers"
DEFAULT_MODEL = MODEL
# Small, so that bulk work leaves the cores often.
BATCH = 8
DEFAULT_LIMIT, LARGEST_LIMIT = 512, 1_000_000

# What a folder's vectors depend on; not its documentation, nor the same model in other forms.
MODEL_FILES = {".safetensors", ".bin", ".pt", ".json", ".txt", ".model"}
OTHER_FORMS = {"onnx", "openvino"}
# A file of every repository that the library loads from, so it is in the hub's cache.
CACHED_FILES = ("modules.json", "config.json")
SHORT_NAMES_OWNER = "sentence-transformers"
MARK = "+"


def require_library() -> None:
    """Raise `ConfigurationError` where the extra is not installed; imports nothing."""
    if importlib.util.find_spec(LIBRARY) is None:
        raise ConfigurationError(
            "QUIRE_EMBEDDING_PROVIDER=sentence-transformers needs a package that is not installed",
            recovery="Run `pip install 'quire[sentence-transformers]'`.",
        )


async def open_sentence_transformer(
    settings: EmbeddingSettings, model: str | None = None, *, revision: str | None = None
) -> SentenceTransformerProvider:
    """Load a model, for seconds and hundreds of megabytes; its name defaults to the settings'.

    With a `revision` a hub's model is loaded as it was then. Raises `EmbeddingMismatch` if the
    folder of that name has changed since.
    """
    require_library()
    name = model or settings.model or DEFAULT_MODEL
    return await asyncio.to_thread(_load, settings, name, revision)


class SentenceTransformerProvider:
    """A loaded model. Queries and bulk work run side by side, the latter at a lower priority."""

    def __init__(self, model: Any, identity: Identity, window: Window, batch: int) -> None:
        self.identity = identity
        self.batch = batch
        self._model = model
        self._window = window
        self._threads = LaneThreads(PROVIDER)

    @property
    def window(self) -> int:
        """The most tokens of text, special tokens and the prefix not counted."""
        return self._window.size

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has for this model."""
        return self._window.count(texts)

    async def embed(
        self, texts: Sequence[str], *, purpose: Purpose, lane: Lane = Lane.INTERACTIVE
    ) -> Vectors:
        """One vector a text, in their order."""
        return await self._threads.run(lane, lambda: self.vectors(texts, purpose))

    def vectors(self, texts: Sequence[str], purpose: Purpose) -> Vectors:
        """The same, in the calling thread.

        Two threads may be here at once: what the model changes while encoding, its tokeniser's
        truncation and padding, it sets to the same each time, first when it was opened.
        """
        if not texts:
            return np.empty((0, self.identity.dimension), np.float32)
        self._window.require(texts, purpose)
        encode = (
            self._model.encode_query if purpose is Purpose.QUERY else self._model.encode_document
        )
        raw = encode(
            list(texts),
            prompt=self._window.prefixes.before(purpose),
            batch_size=self.batch,
            show_progress_bar=False,
            convert_to_numpy=True,
        )
        return unit_vectors(raw, self.identity.model)

    async def close(self) -> None:
        """End the threads; the memory goes with the provider."""
        await self._threads.close()


def folder_revision(folder: Path) -> str:
    """A digest over the model's files: their names and contents. Reads them all."""
    digest = hashlib.sha256()
    for path in sorted(_model_files(folder)):
        with path.open("rb") as content:
            inner = hashlib.file_digest(content, "sha256").hexdigest()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{inner}\n".encode())
    return digest.hexdigest()


def _model_files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        within = path.relative_to(folder).parts
        if any(part.startswith(".") or part in OTHER_FORMS for part in within):
            continue
        if path.suffix in MODEL_FILES and path.is_file():
            yield path


def _load(
    settings: EmbeddingSettings, name: str, revision: str | None
) -> SentenceTransformerProvider:
    folder = Path(name).expanduser()
    mark = prefix_mark(settings.passage_prefix)
    content, _, wanted_mark = (revision or "").partition(MARK)
    local = folder.is_dir()
    if revision is not None and wanted_mark != mark:
        raise EmbeddingMismatch(
            f"The vectors of {name}@{revision} were made with another "
            "QUIRE_EMBEDDING_PASSAGE_PREFIX than this server has"
        )
    if local:
        found = folder_revision(folder)
        if content and content != found:
            raise EmbeddingMismatch(
                f"The model in {folder} is {found}, and the vectors were made with {content}"
            )
        content = found
    model = _open(settings, str(folder) if local else name, None if local else content or None)
    if not local and not content:
        content = _cached_commit(name)
    window = _window_of(settings, name, model)
    revision = f"{content}{MARK}{mark}" if mark else content
    return SentenceTransformerProvider(
        model,
        # The truth about the dimension is a vector's; encoding both ways also settles what the
        # model changes in itself at its first text.
        Identity(PROVIDER, name, revision, int(_probe(model, window).shape[1])),
        window,
        settings.batch or BATCH,
    )


def _open(settings: EmbeddingSettings, place: str, revision: str | None) -> Any:
    try:
        library = importlib.import_module(LIBRARY)
        torch = importlib.import_module("torch")
        importlib.import_module("transformers").utils.logging.disable_progress_bar()
        if settings.threads:
            torch.set_num_threads(settings.threads)
        return library.SentenceTransformer(place, revision=revision, trust_remote_code=False)
    except Exception as error:
        # Whatever a foreign model, its files or the hub fail with, it is this name that is wrong.
        said = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise ConfigurationError(
            f"The embedding model {place!r} cannot be loaded: {type(error).__name__}: {said}",
            recovery="Set QUIRE_EMBEDDING_MODEL to a folder with a sentence-transformers model or "
            "to a name on the model hub; a name must be in the hub's cache, or the hub in reach.",
        ) from error


def _window_of(settings: EmbeddingSettings, name: str, model: Any) -> Window:
    tokenizer = model.tokenizer
    # Models without a transformer have the plain tokeniser itself.
    fast = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not hasattr(fast, "encode_batch_fast"):
        raise ConfigurationError(
            f"The tokens of {name!r} cannot be counted: it has no fast tokeniser",
            recovery="Choose a model with a tokenizer.json.",
        )
    limit = model.max_seq_length
    if limit is None or limit > LARGEST_LIMIT:
        # Some say nothing, others 10**30.
        limit = settings.window or DEFAULT_LIMIT
    prompts = model.prompts
    passage = next(
        (prompts[key] for key in ("document", "passage", "corpus") if key in prompts), ""
    )
    prefixes = Prefixes(
        query=_first(settings.query_prefix, prompts.get("query")),
        passage=_first(settings.passage_prefix, passage),
    )
    return Window.of(name, int(limit), TokenCounter.of(fast), prefixes)


def _first(*prefixes: str | None) -> str:
    return next((prefix for prefix in prefixes if prefix is not None), "")


def _probe(model: Any, window: Window) -> Any:
    model.encode_query(["probe"], prompt=window.prefixes.query, show_progress_bar=False)
    return model.encode_document(["probe"], prompt=window.prefixes.passage, show_progress_bar=False)


def _cached_commit(name: str) -> str:
    """The commit that the hub's cache has for a name: what has just been loaded."""
    hub = importlib.import_module("huggingface_hub")
    repository = name if "/" in name else f"{SHORT_NAMES_OWNER}/{name}"
    for file in CACHED_FILES:
        path = hub.try_to_load_from_cache(repository, file)
        if isinstance(path, str):
            # <cache>/models--owner--name/snapshots/<commit>/<file>
            return Path(path).parent.name
    return ""
