"""Stub, to be replaced."""
from __future__ import annotations


def normalise(secret):
    return secret.replace(" ", "").upper().rstrip("=")


def problems(secrets):
    return []
