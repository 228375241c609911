"""The echo service of this check, on grpcio. See the head of ../src/main.rs for what a server has to do."""

import argparse
import asyncio
import collections
import os
import sys

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

arguments = argparse.ArgumentParser()
arguments.add_argument("--port", type=int, default=0)
arguments.add_argument("--ledger", required=True)
arguments.add_argument("--delay-ms", type=int, default=0)
arguments.add_argument("--streams", type=int)
arguments.add_argument("--age-ms", type=int)
arguments.add_argument("--certificate")
arguments.add_argument("--key")
arguments = arguments.parse_args()

ledger = os.open(arguments.ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
# How often the calls were begun that ask to fail at first.
attempts = collections.Counter()


async def begin(context):
    metadata = dict(context.invocation_metadata())
    call = metadata["call-id"]
    os.write(ledger, f"begin {call} {context.peer()}\n".encode())
    if arguments.delay_ms:
        await asyncio.sleep(arguments.delay_ms / 1000)
    if "fail-first" in metadata:
        attempts[call] += 1
        if attempts[call] <= int(metadata["fail-first"]):
            await context.abort(grpc.StatusCode.UNAVAILABLE, "asked to fail")
    return call


def end(call):
    os.write(ledger, f"end {call}\n".encode())


async def unary(request, context):
    call = await begin(context)
    end(call)
    return request


async def server_stream(request, context):
    call = await begin(context)
    for _ in range(3):
        yield request
    end(call)


async def client_stream(requests, context):
    call = await begin(context)
    whole = b"".join([request async for request in requests])
    end(call)
    return whole


async def bidi(requests, context):
    call = await begin(context)
    async for request in requests:
        yield request
    end(call)


class Echo(grpc.GenericRpcHandler):
    methods = {
        "/interop.Echo/Unary": grpc.unary_unary_rpc_method_handler(unary),
        "/interop.Echo/ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
        "/interop.Echo/ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
        "/interop.Echo/Bidi": grpc.stream_stream_rpc_method_handler(bidi),
    }

    def service(self, details):
        return self.methods.get(details.method)


async def main():
    options = []
    if arguments.streams:
        options.append(("grpc.max_concurrent_streams", arguments.streams))
    if arguments.age_ms:
        options.append(("grpc.max_connection_age_ms", arguments.age_ms))
        options.append(("grpc.max_connection_age_grace_ms", 5000))
    server = grpc.aio.server(options=options)
    server.add_generic_rpc_handlers((Echo(),))
    states = health_pb2.HealthCheckResponse.ServingStatus
    healthy = health.aio.HealthServicer()
    await healthy.set("interop.Echo", states.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    address = f"127.0.0.1:{arguments.port}"
    if arguments.certificate:
        with open(arguments.key, "rb") as key, open(arguments.certificate, "rb") as certificate:
            pair = (key.read(), certificate.read())
        port = server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
    else:
        port = server.add_insecure_port(address)
    await server.start()
    print(f"listening {port}", flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        await healthy.set("interop.Echo", states.Value(line.strip()))
        print(f"health {line.strip()}", flush=True)
    await server.stop(5)


asyncio.run(main())
