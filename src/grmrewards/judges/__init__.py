"""Judges: an endpoint, a local model, and a scripted one for tests."""
