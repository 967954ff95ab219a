"""Whether a store keeps the promise that everything here rests on: of many who create one key, one succeeds."""

import contextlib
import uuid
from concurrent.futures import ThreadPoolExecutor

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import ObjectStore

_WRITERS = 4


def creates_once(objects: ObjectStore) -> bool:
    """Try it with a few writers at once and a key of our own, which is removed again.

    False when more than one succeeds: the store ignores the condition (`rclone serve s3` does), or checks it too late.

    Raises:
        BaseError: The store cannot be reached, or refuses to write.
        OSError: Likewise.
    """
    key = f"probes/{uuid.uuid4().hex}"

    def create(writer: int) -> bool:
        try:
            obstore.put(objects, key, b"%d" % writer, mode="create")
        except (AlreadyExistsError, PreconditionError):
            return False
        return True

    try:
        # None may know that it has won, when the answer to the winner was lost and it asked again.
        with ThreadPoolExecutor(_WRITERS) as pool:
            return sum(pool.map(create, range(_WRITERS))) <= 1
    finally:
        with contextlib.suppress(BaseError, OSError):
            obstore.delete(objects, key)
