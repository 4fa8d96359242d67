"""What lies in the folder through which a job and its process speak."""

from __future__ import annotations

IDS = "ids"
VECTORS = "vectors"
TEXTS = "texts"
MODEL = "model.npz"
