"""The built-in Pub/Sub emulator, in memory: the part of google.pubsub.v1 that the pipeline uses, with flow control.

`service` has the gRPC methods. `broker`, `subscription` and `backlog` have the state, and `push` sends the messages.
`google` finds Google's emulator. The same contract tests run against both (tests/contract/test_pubsub.py).
"""
