"""Install packages, check arguments and fetch model weights before the emulator starts.

Most modules need no installed package.
"""
