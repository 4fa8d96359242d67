"""What is special about sentence-transformers; that it embeds well, the contract suite shows."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quire.embedding.port import Lane, Purpose
from quire.embedding.sentence_transformer import (
    SentenceTransformerProvider,
    folder_revision,
    open_sentence_transformer,
)
from quire.embedding.threads import LaneThreads
from quire.errors import ConfigurationError, EmbeddingMismatch, InvalidInput
from quire.settings import EmbeddingSettings
from tests.backends.availability import UnavailableError
from tests.backends.requirement import got_or_skipped
from tests.embedding.reference_model import reference_model

PROMPTS = {"query": "query: ", "document": "passage: "}


def library() -> Any:
    try:
        import sentence_transformers
    except ImportError as error:
        raise UnavailableError("sentence-transformers is not installed") from error
    return sentence_transformers


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The reference model, with prompts."""
    got_or_skipped(library)
    folder = reference_model(tmp_path / "model")
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": PROMPTS}))
    return folder


async def opened(
    model: Path | str, revision: str | None = None, **given: Any
) -> SentenceTransformerProvider:
    settings = EmbeddingSettings(provider="sentence-transformers", model=str(model), **given)
    return await open_sentence_transformer(settings, revision=revision)


async def test_the_models_own_prompts_go_before_a_text_unless_the_settings_say_others(
    model: Path,
) -> None:
    own = await opened(model)
    other = await opened(model, query_prefix="ask: ", passage_prefix="")
    plain = await opened(model, query_prefix="", passage_prefix="")

    async def vector(provider: SentenceTransformerProvider, text: str, purpose: Purpose) -> Any:
        return (await provider.embed([text], purpose=purpose))[0]

    expected = {
        (own, Purpose.QUERY): "query: a text",
        (own, Purpose.PASSAGE): "passage: a text",
        (other, Purpose.QUERY): "ask: a text",
        (other, Purpose.PASSAGE): "a text",
    }
    for (provider, purpose), whole in expected.items():
        got = await vector(provider, "a text", purpose)
        assert np.allclose(got, await vector(plain, whole, Purpose.PASSAGE), atol=1e-5)

    # Two tokens each, and one for the seam; then the last token of a full window still counts.
    assert (plain.window, own.window) == (254, 251)
    full = [" ".join(["word"] * 250 + [last]) for last in ("elephant", "mortgage")]
    one, another = await own.embed(full, purpose=Purpose.PASSAGE)
    assert one @ another < 0.9999
    with pytest.raises(InvalidInput, match=r"Text 0 has 252 tokens, and .* takes in 251"):
        await own.embed([full[0] + " word"], purpose=Purpose.PASSAGE)

    # Another prefix before passages makes other vectors; one before questions does not.
    assert own.identity != plain.identity
    assert other.identity == plain.identity
    for provider in (own, other, plain):
        await provider.close()


async def test_a_folder_that_has_changed_is_another_revision(model: Path) -> None:
    then = await opened(model)
    await then.close()
    assert then.identity.revision == folder_revision(model)
    (model / "README.md").write_text("says nothing of the vectors")
    assert then.identity.revision == folder_revision(model)
    moved = shutil.copytree(model, model.parent / "elsewhere")
    assert then.identity.revision == folder_revision(moved)

    (model / "config_sentence_transformers.json").write_text("{}")

    assert then.identity.revision != folder_revision(model)
    with pytest.raises(EmbeddingMismatch, match=then.identity.revision):
        await opened(model, then.identity.revision)
    with pytest.raises(EmbeddingMismatch, match="QUIRE_EMBEDDING_PASSAGE_PREFIX"):
        await opened(moved, then.identity.revision, passage_prefix="text: ")


@pytest.mark.parametrize("damage", ["no such folder", "empty", "no weights", "weights cut off"])
async def test_a_model_that_cannot_be_loaded_is_named_with_what_to_do(
    model: Path, damage: str
) -> None:
    weights = model / "model.safetensors"
    head = weights.read_bytes()[:1000]
    weights.unlink()
    name = model
    if damage == "no such folder":
        name = model / "nothing" / "here"
    elif damage == "empty":
        shutil.rmtree(model)
        model.mkdir()
    elif damage == "weights cut off":
        weights.write_bytes(head)

    with pytest.raises(ConfigurationError) as told:
        await opened(name)

    assert str(name) in told.value.message
    assert "QUIRE_EMBEDDING_MODEL" in told.value.recovery


async def test_a_hubs_model_is_known_by_its_commit_and_opened_as_it_was(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    cache = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    old, new = "a" * 40, "b" * 40
    repository = cache / "models--owner--model"
    for commit in (old, new):
        shutil.copytree(model, repository / "snapshots" / commit)
    (repository / "snapshots" / old / "config_sentence_transformers.json").write_text("{}")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(new)

    now = await opened("owner/model")
    then = await opened("owner/model", old)

    assert (now.identity.revision, then.identity.revision) == (new, old)
    # The prompts of the one are not in the other.
    assert (now.window, then.window) == (251, 254)
    for provider in (now, then):
        await provider.close()


@pytest.mark.skipif(sys.platform != "linux", reason="niceness is a thread's on Linux alone")
async def test_bulk_work_gives_way_to_questions() -> None:
    threads = LaneThreads("test")

    async def niceness(lane: Lane) -> int:
        return await threads.run(
            lane, lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        )

    assert await niceness(Lane.BULK) > await niceness(Lane.INTERACTIVE)
    await threads.close()
