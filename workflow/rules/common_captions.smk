"""What the rule of captions is given, by source."""

import json


def captioner_files(captions):
    """The captioning model, where it lies here; one of a server has a name of its own."""
    is_here = captions["captioner"] == "transformers"
    return local_files([captions["model"]] if is_here else [])


def caption_fields(source):
    """What decides the captions of a source, besides the files beside its videos.

    Where a server is and how fast it is asked decides nothing.
    """
    captions = source["captions"]
    endpoint = captions["endpoint"] or {}
    asked = {
        name: endpoint[name]
        for name in ("max_side", "request", "prices")
        if name in endpoint
    }
    tables = sidecars(source)
    others = {name: value for name, value in captions.items() if name != "endpoint"}
    return {
        **{**others, **({"endpoint": asked} if asked else {}), "sidecar": tables},
        **stamps([*tables, *captioner_files(captions)]),
    }


def caption_options(captions):
    """How clips are captioned, as options."""
    return options(
        model=captions["model"],
        prompt=captions["prompt"],
        num_frames=captions["num_frames"],
        languages=captions["languages"],
        per_clip=SEVERAL_CAPTIONS,
    )


def server_options(captions):
    """What caption_clips is told of a server."""
    endpoint = captions["endpoint"]
    if endpoint is None:
        return []
    return options(
        endpoint=json.dumps(endpoint, sort_keys=True), store=f"{STORE}/captions"
    )
