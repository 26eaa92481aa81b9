"""Models, photographs and labels to try fg-onnx on; each module makes or fetches one of them."""
