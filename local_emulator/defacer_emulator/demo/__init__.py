"""The clips that `make demo` and the tests generate, and the picture of a frame before and after."""
