"""A page that runs an instrumented model in the browser and explains there.

The page is static: fixed HTML, style and script (``assets/``), onnxruntime-web (`runtime`), the
model, and ``view.json``, which tells the script of them (`document`). `folder` writes it, `serving`
shows it.
"""
