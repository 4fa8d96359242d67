"""Quire: vector workspaces on Qdrant."""
