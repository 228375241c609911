"""Load from Python's grpcio client, for comparison: `calls=N` and a line for each code that calls failed with."""

import argparse
import collections
import itertools
import sys
import threading
import time

import grpc

arguments = argparse.ArgumentParser()
arguments.add_argument("--callers", type=int, required=True)
arguments.add_argument("--timeout-ms", type=int, required=True)
arguments.add_argument("--most-calls", type=int, required=True)
arguments.add_argument("--wait-for-ready", action="store_true")
arguments.add_argument("addresses", nargs="+")
arguments = arguments.parse_args()

channel = grpc.insecure_channel(
    "ipv4:" + ",".join(arguments.addresses),
    # It would send all addresses as one authority, which some servers refuse.
    [("grpc.lb_policy_name", "round_robin"), ("grpc.default_authority", "echo")],
)
MESSAGE = bytes(100)
unary = channel.unary_unary("/interop.Echo/Unary")
server_stream = channel.unary_stream("/interop.Echo/ServerStream")
client_stream = channel.stream_unary("/interop.Echo/ClientStream")
bidi = channel.stream_stream("/interop.Echo/Bidi")
KINDS = [
    lambda **options: unary(MESSAGE, **options),
    lambda **options: list(server_stream(MESSAGE, **options)),
    lambda **options: client_stream(iter([MESSAGE] * 3), **options),
    lambda **options: list(bidi(iter([MESSAGE] * 3), **options)),
]

numbers = itertools.count()
stopped = threading.Event()
failed = collections.Counter()
made = collections.Counter()


def caller(index):
    while not stopped.is_set():
        number = next(numbers)
        if number >= arguments.most_calls:
            break
        try:
            KINDS[number % len(KINDS)](
                timeout=arguments.timeout_ms / 1000,
                metadata=(("call-id", str(number)),),
                wait_for_ready=arguments.wait_for_ready,
            )
        except grpc.RpcError as error:
            failed[error.code().name] += 1
            time.sleep(0.01)
        made[index] += 1


grpc.channel_ready_future(channel).result(timeout=10)
threads = [threading.Thread(target=caller, args=(index,)) for index in range(arguments.callers)]
for thread in threads:
    thread.start()
print("started", flush=True)
sys.stdin.read()
stopped.set()
for thread in threads:
    thread.join()
print(f"calls={sum(made.values())}")
for code, number in failed.items():
    print(f"{code}={number}")
