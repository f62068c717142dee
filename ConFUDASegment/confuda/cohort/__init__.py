"""Many volumes on Dask. Its workers load this package first, and torch after it."""

from confuda.threads import let_threads_sleep

let_threads_sleep()
