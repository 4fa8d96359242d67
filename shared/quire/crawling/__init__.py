"""Websites into sessions."""
