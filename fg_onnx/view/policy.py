"""What the page may load and run: its own files, and nothing else."""

POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; "
    "connect-src 'self'; style-src 'self'; img-src 'self' blob:; base-uri 'none'; "
    "form-action 'none'"
)
"""As a Content-Security-Policy. So even markup that came through would neither run nor reach the
network. A photo that is chosen is a ``blob:``, and so is the few words that start the worker."""
