"""Exported models for other packages of explanations: docs/ecosystem.md."""
