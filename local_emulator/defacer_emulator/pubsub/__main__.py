"""`python -m defacer_emulator.pubsub`: run the emulator until SIGTERM or SIGINT."""

import argparse
import logging
import signal
import sys

from defacer_emulator.pubsub.grpc_server import GrpcServer, ListenError

STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}


def main(arguments: list[str] | None = None) -> int:
    """Print `listening on HOST:PORT` when ready. Return 0 after a signal, or 1 if the server can't start."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    # Blocked before any thread starts, so that only the sigwait below receives them.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        with GrpcServer(options.host, options.port) as server:
            print(f"listening on {server.host}:{server.port}", flush=True)
            signal.sigwait(STOP_SIGNALS)
    except ListenError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m defacer_emulator.pubsub",
        description="Run an in-memory Pub/Sub emulator.",
        allow_abbrev=False,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8085, help="0 means any free port (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
