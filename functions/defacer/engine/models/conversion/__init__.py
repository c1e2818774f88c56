"""Convert downloaded model weights into files that OpenVINO and PyTorch can read."""
