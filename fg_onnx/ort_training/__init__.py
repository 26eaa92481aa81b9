"""The other engine: the adjoint that onnxruntime-training derives, in standard operators."""
