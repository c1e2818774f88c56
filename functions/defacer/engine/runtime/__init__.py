"""The resources of a process: threads that work ahead, glibc's heap, the GPU, and the optional package PyTorch."""
