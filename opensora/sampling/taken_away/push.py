"""The way to a hub: a folder becomes a private repository there."""

import os
from pathlib import Path

from opensora.core.errors import ConfigError, PassingError

TOKEN = "HF_TOKEN"


def check_push(name: str) -> None:
    """Refuse what can not be pushed, before anything is written.

    Raises:
        ConfigError: no token in the environment, or no name of a repository.
    """
    from huggingface_hub.errors import HFValidationError
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
        raise ConfigError(f"--push {name}: expected YOUR_NAME/MODEL")


def push_folder(folder: Path, name: str) -> str:
    """Upload a folder to a repository, which is made where there is none, and then private.

    Args:
        folder: all of it.
        name: of the repository.

    Returns:
        The address of the commit.

    Raises:
        PassingError: the hub did not take it.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils import httpx

    api = HfApi(token=os.environ[TOKEN])
    try:
        api.create_repo(name, private=True, exist_ok=True)
        commit = api.upload_folder(
            repo_id=name, folder_path=folder, commit_message="weights by opensora export-weights"
        )
    except (httpx.HTTPError, OSError, RuntimeError) as error:  # the last two of its uploader
        said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise PassingError(
            f"--push {name}: the hub did not take it ({said}); {folder} is whole, so the same"
            " command can be run again"
        ) from error
    return str(commit.commit_url)
