"""Mutated models: whatever a file says, fg-onnx answers with a right model or a clean error.

    python -m tests.fuzz --seed 1 --count 1000

A mutant follows from its seed and its number alone. It is made and judged in a worker process
under limits of memory and time, so that a crash, a hang or a swollen process is a finding like a
wrong answer.
"""
