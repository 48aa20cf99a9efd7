"""What a chat model may be at."""

import enum


class ModelState(enum.StrEnum):
    """REGISTERED ── load ──> LOADING ──> READY ── unload ──> DRAINING ──> UNLOADED ── load ──> LOADING
                             └─────────> FAILED, with the reason
    ABSENT: there is none. STOPPED: the house is being closed.
    """

    ABSENT = "absent"
    REGISTERED = "registered"
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    UNLOADED = "unloaded"
    FAILED = "failed"
    STOPPED = "stopped"
