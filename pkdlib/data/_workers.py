"""Many clips made by several processes at once, which end with the process that started them."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

from pkdlib import _processes
from pkdlib.data.datasets import DatasetError

Job = TypeVar("Job")
Result = TypeVar("Result")


def results(
    function: Callable[[Job], Result], jobs: Sequence[Job], workers: int, killed: Callable[[Job], Result]
) -> Iterator[Result]:
    """Call a function once for each job, and yield what it returns as it comes.

    Where a process is killed, as a codec's fault or a lack of memory does it, the jobs that were under way are done
    again, each alone, so that it is clear which of them it is. Close the iterator to stop the workers at once.

    Args:
        function: Of a module, so that another process can find it; what it raises ends the iteration.
        jobs: Its arguments.
        workers: Number of processes; 1 stays in this one, which then nobody watches.
        killed: Gives the result of a job whose process is killed even where it works alone, or raises.

    Yields:
        Results, in no certain order.

    Raises:
        DatasetError: If processes cannot be started.
    """
    if workers == 1:
        yield from map(function, jobs)
        return
    waiting = iter(jobs)
    while suspects := (yield from _until_killed(function, waiting, min(workers, len(jobs)))):
        if not list(_until_killed(abs, iter([0]), 1)):
            raise DatasetError(
                "a process that was started to work beside this one ends at once (too little memory? a script that "
                "makes clips must do so behind `if __name__ == '__main__':`)"
            )
        for job in suspects:
            if (yield from _until_killed(function, iter([job]), 1)):
                yield killed(job)


def _until_killed(function, jobs: Iterator, workers: int) -> Iterator:
    # Yields results until there are no more jobs or a process is killed; returns the jobs that were under way then.
    under_way, futures = [], {}
    with _processes.pool(workers, "spawn") as pool:
        try:
            while True:
                # One more than there are workers, so that none waits for this process.
                for job in islice(jobs, workers + 1 - len(under_way)):
                    under_way.append(job)
                    futures[pool.submit(function, job)] = job
                if not under_way:
                    return []
                for future in wait(futures, return_when=FIRST_COMPLETED).done:
                    result = future.result()
                    under_way.remove(futures.pop(future))
                    yield result
        except BrokenProcessPool:
            return under_way
        finally:
            pool.shutdown(cancel_futures=True)
