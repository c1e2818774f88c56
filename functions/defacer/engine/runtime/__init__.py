"""Threads and memory of a process: prefetching, ordered parallel work, and the heap of glibc."""
