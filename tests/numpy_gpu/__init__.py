"""Two GPUs made of numpy: what runs tests/gpu where there is no card.

    python -m pytest -p tests.numpy_gpu.plugin tests/gpu

All of our Python runs as it would on a card: who copies what where, on which GPU and in whose turn, which shapes and
types are handed on, how answers are merged. In the places of CuPy, of FAISS's GPU classes and of ONNX Runtime's CUDA
provider stands the least that those are asked for, strict about what a card would refuse or get wrong: arrays of
another GPU, arrays of the host, types, layouts. Whether kernels do what their stand-ins do, only a card can tell.
"""
