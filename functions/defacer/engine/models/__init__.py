"""The neural networks: detectors, recognisers, their weights, and the OpenVINO and PyTorch back ends."""
