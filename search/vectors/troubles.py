"""Troubles: what went wrong between this house and a vector server, in sentences for a reader.

Pure: an error in, a sentence out that says what to do. Its hard rule: no
sentence holds a key or a password.
"""

from urllib.parse import urlsplit


def shown(url: str) -> str:
    """An address for a sentence: never with a name and a password in it."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def explained(error: Exception, server: str, collection: str) -> tuple[bool, str]:
    """Whether the server is to be left alone for a while, and the sentence for a reader."""
    status = getattr(error, "status_code", None)
    if status is not None:
        content = getattr(error, "content", b"")
        said = content.decode(errors="replace") if isinstance(content, bytes) else ""
        return status in (401, 403) or status >= 500, _refusal(status, said, server, collection)
    if isinstance(error, ImportError):
        return True, f"A vector server needs the library qdrant-client, which is not installed ({error})."
    source = getattr(error, "source", None) or error
    if "certificate" in str(source).lower():
        return True, (
            f"The certificate of the vector server {server} is not trusted ({source}). Name the house's own "
            "authority in `search.vector_server.ca_file`."
        )
    if type(source).__module__.startswith("pydantic"):
        return (
            True,
            f"What answers at {server} is no Qdrant server of version 1.16 or newer. See `search.vector_url`.",
        )
    if hasattr(error, "source") or isinstance(error, OSError):
        return True, (
            f"The vector server {server} does not answer ({source}). As soon as it does, it is asked again by itself."
        )
    return False, f"The vector server {server} could not be used ({type(error).__name__}: {error})."


def _refusal(status: int, said: str, server: str, collection: str) -> str:
    if status in (401, 403):
        return (
            f"The vector server {server} refuses the key. Put the right one into ALMANAC_VECTOR_KEY or the file "
            "that `search.vector_server.key_file` names, and restart Almanac."
        )
    if status == 404:
        return (
            f"The vector server {server} no longer has the collection {collection!r}. Restart Almanac: it is made "
            "and filled again from the library."
        )
    if status >= 500:
        return f"The vector server {server} fails (HTTP {status}). Its own log says why."
    return f"The vector server {server} refused what it was asked (HTTP {status}): {said[:300]}"
