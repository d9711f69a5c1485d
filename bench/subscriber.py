"""A client of Redis that receives messages and does nothing with them: for `bench/drain.py`.

    python -m bench.subscriber [CHANNEL ...]

Without channels it subscribes to the pattern of all runs. Prints a line once it has subscribed.
The address, which has a password, is in the environment: command lines are for all to read.
"""

import sys

from redis import Redis

from execstream.config.settings import read_settings
from execstream.storage.redis.channels import execution_channel


def main() -> None:
    channels = sys.argv[1:]
    with Redis.from_url(read_settings().redis) as redis, redis.pubsub() as subscribed:
        if channels:
            subscribed.subscribe(*channels)
        else:
            subscribed.psubscribe(execution_channel("", "*", "*", "*"))
        waiting = len(channels) or 1
        for _ in subscribed.listen():
            waiting -= 1
            if waiting == 0:
                print(flush=True)


if __name__ == "__main__":
    main()
