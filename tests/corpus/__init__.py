"""Check instrumented models of many architectures and of one's own: ``python -m tests.corpus``."""
