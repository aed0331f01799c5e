"""The way to a hub: a folder becomes a private repository there.

The token is read from the environment and stands in nothing that is written or said.
"""

import os
from pathlib import Path

from opensora.core.errors import ConfigError, PassingError, shown

TOKEN = "HF_TOKEN"
MODEL, DATASET = "model", "dataset"
_SHOWN = 300  # characters of what a hub says


def check_push(name: str) -> None:
    """Refuse what can not be pushed, before anything is written.

    Raises:
        ConfigError: no token in the environment, or no name of a repository.
    """
    from huggingface_hub.errors import HFValidationError  # takes a moment to load
    from huggingface_hub.utils import validate_repo_id

    if not os.environ.get(TOKEN):
        raise ConfigError(
            f"--push {name}: {TOKEN} is not set; make a token that may write in the settings of"
            " your hub account and put it into the environment"
        )
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ConfigError(f"--push {name!r} is no name of a repository: {error}") from error
    if name.count("/") != 1:
        raise ConfigError(f"--push {name}: expected YOUR_NAME/NAME")


def push_folder(folder: Path, name: str, *, kind: str, message: str) -> str:
    """Upload a folder to a repository, which is made where there is none, and then private.

    Args:
        folder: all of it.
        name: of the repository.
        kind: MODEL or DATASET.
        message: of the commit.

    Returns:
        The address of the commit.

    Raises:
        PassingError: the hub did not take it.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils import httpx

    token = os.environ[TOKEN]
    api = HfApi(token=token)
    try:
        api.create_repo(name, private=True, exist_ok=True, repo_type=kind)
        commit = api.upload_folder(
            repo_id=name, folder_path=folder, commit_message=message, repo_type=kind
        )
    except (httpx.HTTPError, OSError, RuntimeError) as error:  # the last two of its uploader
        lines = str(error).replace(token, f"${TOKEN}").strip().splitlines()
        said = shown(lines[0] if lines else type(error).__name__, _SHOWN)
        raise PassingError(
            f"--push {name}: the hub did not take it ({said}); {folder} is whole, so that it can be"
            " uploaded again"
        ) from None
    return str(commit.commit_url)
