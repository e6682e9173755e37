"""What goes wrong outside the code, in words, and whether trying again can cure it.

Belongs here: telling a fault that passes (a full disk, no network, a killed process) from one that stays until somebody
mends it (bad input). Does not: trying again, which the sensor (automation.py) and Dagster's run retries
(dagster_home/dagster.yaml) do.
"""

import errno

import dagster as dg
import httpx2

# In the metadata of a failure that the same run would meet again; the UI shows it.
LASTING = "trying again"
TO_DO = {
    errno.ENOSPC: "free space on that disk",
    errno.EDQUOT: "free space, or have the quota raised",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EROFS: "make that file system writable",
    errno.EACCES: "make it readable and writable for this user",
    errno.EPERM: "make it readable and writable for this user",
}


def lasting_failure(message: str) -> dg.Failure:
    """A failure that no retry cures: what was given is at fault."""
    return dg.Failure(
        message, allow_retries=False, metadata={LASTING: "fails the same way until what was given is mended"}
    )


def disk_failure(error: OSError, path: object, otherwise: str) -> dg.Failure:
    """A file that could not be written, with what to do.

    Args:
        error: what the system said.
        path: the file.
        otherwise: the way out where room or rights cannot be had, as a clause.
    """
    to_do = TO_DO.get(error.errno or 0, "see that the disk is there and sound")
    return dg.Failure(
        f"{path}: cannot be written ({error.strerror or error}); {to_do}, or {otherwise}. The last good version stays",
        allow_retries=False,
    )


def with_remedy(error: OSError) -> str:
    """What the system said and, where that is known, what to do about it."""
    to_do = TO_DO.get(error.errno or 0)
    return f"{error}; {to_do}" if to_do else str(error)


def of_the_network(error: BaseException) -> bool:
    """Whether an error comes from a server that could not be reached or was busy, by its causes."""
    seen: BaseException | None = error
    while seen is not None:
        answer = getattr(seen, "response", None) if isinstance(seen, httpx2.HTTPError) else None
        if isinstance(seen, ConnectionError | TimeoutError | httpx2.TransportError) or (
            answer is not None and (answer.is_server_error or answer.status_code == httpx2.codes.TOO_MANY_REQUESTS)
        ):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def lasting_fault(instance: dg.DagsterInstance, run_id: str) -> str | None:
    """What made a run fail in a way that no retry cures, in the words of its failure; None where there is no such."""
    for event in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        told = event.dagster_event.step_failure_data.user_failure_data if event.dagster_event else None
        if told and LASTING in told.metadata:
            return told.description
    return None
