"""Residency: idle sessions leave the engine's memory, and come back when they are used."""
