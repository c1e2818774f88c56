"""`defacer schema`: print the JSON Schema of a file that people write."""

import json
from typing import Annotated, Literal

import typer

from defacer.commands.common.conventions import example_text

EXAMPLES = """\
defacer schema policy > policy.schema.json      then name it in your editor's settings for policy.json
"""
app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(epilog=example_text(EXAMPLES), no_args_is_help=True)
def schema(
    document: Annotated[
        Literal["policy"], typer.Argument(help="policy: the file channels/NAME/policy.json of a channel.")
    ],
) -> None:
    """Print the JSON Schema of a document. Editors complete and check the document with it."""
    from defacer.field_texts import field_texts
    from defacer.pipeline.documents.manifest import Policy

    model = {"policy": Policy}[document]
    schema = model.model_json_schema()
    for name, text in field_texts(model).items():
        schema["properties"][name]["description"] = text
    schema["description"] = schema["description"].partition("\n\n")[0]
    print(json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=2))
