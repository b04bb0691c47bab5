"""From ``hf-hub:`` and ``local-dir:`` names to a folder with the files that are needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from showtell._extras import first_line, need
from showtell.encoders.hub.config import CONFIG_FILES, choose_weights
from showtell.errors import InputError, RunError

_HTTP_CLIENTS = ("httpx", "httpx2", "requests")  # of versions 1, 2 and 0 of huggingface_hub


def find_folder(name: str, precision: str) -> Path:
    """Find, or download, the files of a model.

    `name`: ``"local-dir:path"`` or ``"hf-hub:org/name"``, the latter with ``@revision`` if wanted;
    `precision`: decides which weights are downloaded.
    """
    kind, _, place = name.partition(":")
    if kind == "local-dir":
        return Path(place).expanduser()
    if kind != "hf-hub" or place.count("/") != 1:
        raise InputError(f"Write 'hf-hub:ORG/NAME' or 'local-dir:PATH', got {name!r}.")
    repository, _, revision = place.partition("@")
    return _download(name, repository, revision or None, precision)


def _download(name: str, repository: str, revision: str | None, precision: str) -> Path:
    hub = need("huggingface_hub", extra="hub", what="A model of the Hugging Face hub")
    files = _listing(hub, name, repository, revision)
    if files is None:  # no network: whatever an earlier run left must do
        wanted, offline = None, True
    else:
        weights = choose_weights(files, precision, name)
        wanted = [*CONFIG_FILES, *weights.files]
        if weights.kind == "towers" and "model.safetensors" in files:
            wanted.append("model.safetensors")  # for the logit scale
        offline = False
    try:
        folder = hub.snapshot_download(
            repository, revision=revision, allow_patterns=wanted, local_files_only=offline
        )
    except Exception as error:
        if not (isinstance(error, ValueError) or _is_of_the_network(error)):
            raise
        if offline:
            raise RunError(
                f"{name} is not in the local cache and the hub cannot be reached (or "
                "HF_HUB_OFFLINE is set). Go online once, or copy the model and use "
                "'local-dir:PATH'."
            ) from error
        raise RunError(
            f"Downloading {name} failed: {first_line(error)}. Run again to go on where it stopped."
        ) from error
    return Path(folder)


def _listing(hub: Any, name: str, repository: str, revision: str | None) -> list[str] | None:
    """List the files of a repository; None without a connection."""
    errors = need("huggingface_hub.errors", extra="hub", what="A model of the Hugging Face hub")
    try:
        return list(hub.HfApi().list_repo_files(repository, revision=revision))
    except errors.GatedRepoError:
        raise InputError(
            f"{name} is gated: accept its terms on huggingface.co/{repository}, then log in with "
            "`hf auth login`."
        ) from None
    except errors.RevisionNotFoundError:
        raise InputError(f"{name}: the repository has no revision {revision!r}.") from None
    except errors.RepositoryNotFoundError:
        raise InputError(
            f"There is no public repository {repository!r} on the Hugging Face hub (or you may "
            "not read it: `hf auth login`). Check the spelling: 'hf-hub:ORG/NAME'."
        ) from None
    except errors.HFValidationError as error:
        raise InputError(f"{name} is no name of a repository: {first_line(error)}") from None
    except Exception as error:
        if isinstance(error, errors.OfflineModeIsEnabled) or _is_of_the_network(error):
            return None
        raise


def _is_of_the_network(error: Exception) -> bool:
    """Whether the connection failed; the hub's client lets errors of its HTTP client through."""
    families = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return isinstance(error, OSError) or not families.isdisjoint(_HTTP_CLIENTS)
