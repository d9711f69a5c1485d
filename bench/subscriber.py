"""A client of Redis that receives messages and does nothing with them: for `bench/drain.py`.

    python -m bench.subscriber CHANNEL ...

A channel with `*` is a pattern. Prints a line once it has subscribed. The address, which has a
password, is in the environment: command lines are for all to read.
"""

import sys

from redis import Redis

from execstream.config.settings import read_settings


def main() -> None:
    channels = sys.argv[1:]
    patterns = [channel for channel in channels if "*" in channel]
    names = [channel for channel in channels if "*" not in channel]
    with Redis.from_url(read_settings().redis) as redis, redis.pubsub() as subscribed:
        if names:
            subscribed.subscribe(*names)
        if patterns:
            subscribed.psubscribe(*patterns)
        waiting = len(channels)
        for _ in subscribed.listen():
            waiting -= 1
            if waiting == 0:
                print(flush=True)


if __name__ == "__main__":
    main()
