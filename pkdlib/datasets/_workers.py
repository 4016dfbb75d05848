"""Many clips made by several processes at once, which end with the process that started them."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from pkdlib import processes
from pkdlib.datasets import DatasetError

Job = TypeVar("Job")
Result = TypeVar("Result")


def results(function: Callable[[Job], Result], jobs: Iterable[Job], workers: int) -> Iterator[Result]:
    """Call a function once for each job, and yield what it returns as it comes.

    Close the iterator to stop the workers at once.

    Args:
        function: Of a module, so that another process can find it; what it raises ends the iteration.
        jobs: Its arguments.
        workers: Number of processes; 1 stays in this one.

    Yields:
        Results, in no certain order.

    Raises:
        DatasetError: If a process is killed.
    """
    if workers == 1:
        yield from map(function, jobs)
        return
    with processes.pool(workers, "spawn") as pool:
        try:
            for job in as_completed([pool.submit(function, job) for job in jobs]):
                yield job.result()
        except BrokenProcessPool as error:
            raise DatasetError("a worker process was killed (too little memory?); run again to go on") from error
        finally:
            pool.shutdown(cancel_futures=True)
