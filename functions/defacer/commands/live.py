"""`defacer live`: serve the live page alone on this machine, without the pipeline and its channels."""

import webbrowser
from typing import Annotated

import typer

from defacer.commands.common.conventions import example_text, verbosity
from defacer.commands.common.exit_codes import UsageError

EXAMPLES = """\
defacer live --open
defacer live --port 9000
"""
app = typer.Typer(add_completion=False, rich_markup_mode=None)
NO_PIPELINE = {
    "DEFACER_PROJECT": "no-project",
    "DEFACER_INTAKE_BUCKET": "no-bucket",
    "DEFACER_WORK_BUCKET": "no-bucket",
    "DEFACER_OUTPUT_BUCKET": "no-bucket",
    "DEFACER_LIVE_CHANNELS": "false",
    # Cameras of this machine and of private networks, as in the emulator.
    "DEFACER_LIVE_ALLOW_LOOPBACK": "true",
    "DEFACER_LIVE_PORTS": "",
}


@app.command(epilog=example_text(EXAMPLES))
def serve_live_page(
    context: typer.Context,
    port: Annotated[
        int,
        typer.Option(
            "--port", min=0, max=65535, metavar="PORT", help="The port to listen on; 0 means any free port."
        ),
    ] = 8081,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Redact the faces of a camera in the browser. Only this machine can reach the page. Ctrl-C stops it."""
    from defacer.pipeline.settings import ALL_PRIVATE_HOSTS, use_variables
    from defacer.web.live.live_app import build_live_page
    from defacer.web.live.serving import create_listener, serve

    try:
        listener = create_listener("127.0.0.1", port)
    except OSError as error:
        raise UsageError(
            f"Port {port} is in use, or this user is not allowed to use it. Stop the program that uses it, or choose "
            "another --port."
        ) from error
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    level = "INFO" if verbosity(context) > 0 else "WARNING"
    variables = {
        **NO_PIPELINE,
        "DEFACER_LIVE_PRIVATE_HOSTS": ALL_PRIVATE_HOSTS,
        "DEFACER_LIVE_ORIGINS": url,
        "DEFACER_LOG_LEVEL": level,
    }
    with listener, use_variables(variables):
        page = build_live_page()
        page.state.proxies = 0
        print(f"The live page: {url}", flush=True)
        if open_page:
            webbrowser.open(url)  # the page loads when the server accepts connections
        try:
            serve(page, listener)
        except KeyboardInterrupt:
            print("\nStopped.")
