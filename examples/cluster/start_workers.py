"""Start a Dask scheduler here and its workers as SLURM jobs, and keep both until this program is ended.

    python examples/cluster/start_workers.py --jobs 100

For `confuda cohort ... --scheduler ADDRESS`, with the address that is printed (docs/cohort.md). Needs dask-jobqueue,
and dask.yaml beside this file in ~/.config/dask.
"""

import argparse
import threading


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10, help="SLURM jobs, a worker each (10 by default)")
    parser.add_argument("--port", type=int, default=8786, help="of the scheduler (8786 by default)")
    arguments = parser.parse_args()

    from dask_jobqueue import SLURMCluster

    with SLURMCluster(scheduler_options={"port": arguments.port}) as cluster:
        # As many at any time: a job that has ended is replaced. Not by need, which Dask tells by tasks that wait, and
        # the cohort lets none wait there.
        cluster.adapt(minimum_jobs=arguments.jobs, maximum_jobs=arguments.jobs)
        print(cluster.scheduler_address, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
