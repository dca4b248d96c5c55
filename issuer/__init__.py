"""Issuer."""
