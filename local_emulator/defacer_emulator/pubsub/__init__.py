"""A Pub/Sub of our own, in memory: what the pipeline needs of google.pubsub.v1, with push flow control.

The gRPC surface is `service`; the state is `broker`, `subscription` and `backlog`; `push` sends the messages.
`google` finds Google's own emulator, which one contract (tests/contract/test_pubsub.py) holds both to.
"""
