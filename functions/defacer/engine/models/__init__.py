"""The neural networks: detectors, recognizers, their weights, and the OpenVINO and PyTorch back ends."""
