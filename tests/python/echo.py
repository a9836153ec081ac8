"""The service heddle.test.Echo and a client of it, by grpcio, without generated code.

    echo.py serve PORT NAME
    echo.py call ADDRESS METHOD [--text T] [--count N] [--code C] [--delay-ms MS] [--deadline-ms MS] [--times N]

The same service as `heddle-peer grpc-serve`; `call` prints what `heddle-peer grpc` prints.
"""

import argparse
import json
import queue
import time
from concurrent import futures

import grpc

SERVICE = "heddle.test.Echo"


class Echo:
    """The message: text = 1, count = 2, code = 3, delay_ms = 4."""

    def __init__(self, text="", count=0, code=0, delay_ms=0):
        self.text, self.count, self.code, self.delay_ms = text, count, code, delay_ms

    def encode(self):
        text = self.text.encode()
        out = b"\x0a" + varint(len(text)) + text if text else b""
        for tag, value in ((0x10, self.count), (0x18, self.code), (0x20, self.delay_ms)):
            if value:
                out += bytes([tag]) + varint(value)
        return out

    @staticmethod
    def decode(data):
        echo, at = Echo(), 0
        while at < len(data):
            tag, at = unvarint(data, at)
            value, at = unvarint(data, at)
            if tag == 0x0A:
                echo.text = data[at : at + value].decode()
                at += value
            elif tag == 0x10:
                echo.count = value
            elif tag == 0x18:
                echo.code = value
            elif tag == 0x20:
                echo.delay_ms = value
            else:
                raise ValueError(f"unknown field {tag:#x}")
        return echo


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def unvarint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def status_of(number):
    return next(code for code in grpc.StatusCode if code.value[0] == number)


def answer(echo, context):
    time.sleep(echo.delay_ms / 1000)
    if echo.code:
        context.abort(status_of(echo.code), echo.text)
    return echo


class Service:
    def __init__(self, name):
        self.metadata = (("x-server", name),)

    def unary(self, echo, context):
        context.send_initial_metadata(self.metadata)
        return answer(echo, context)

    def server(self, echo, context):
        context.send_initial_metadata(self.metadata)
        for number in range(echo.count):
            yield answer(Echo(f"{echo.text} {number}", delay_ms=echo.delay_ms), context)
        if echo.code:
            context.abort(status_of(echo.code), "told to")

    def client(self, echoes, context):
        context.send_initial_metadata(self.metadata)
        return Echo(",".join(answer(echo, context).text for echo in echoes))

    def bidi(self, echoes, context):
        context.send_initial_metadata(self.metadata)
        for echo in echoes:
            yield answer(echo, context)


def serve(port, name):
    service = Service(name)
    coders = {"request_deserializer": Echo.decode, "response_serializer": Echo.encode}
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(service.unary, **coders),
        "Server": grpc.unary_stream_rpc_method_handler(service.server, **coders),
        "Client": grpc.stream_unary_rpc_method_handler(service.client, **coders),
        "Bidi": grpc.stream_stream_rpc_method_handler(service.bidi, **coders),
    }
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    address = f"[::]:{port}"
    server.add_insecure_port(address)
    server.start()
    print(json.dumps({"event": "listening", "addresses": [address]}), flush=True)
    server.wait_for_termination()


def call(args):
    channel = grpc.insecure_channel(args.address)
    coders = {"request_serializer": Echo.encode, "response_deserializer": Echo.decode}
    limit = {"timeout": args.deadline_ms / 1000 if args.deadline_ms else 60}
    path = f"/{SERVICE}/{args.method.capitalize()}"

    def echo(text):
        return Echo(text, args.count, args.code, args.delay_ms)

    def one(replies):
        if args.method == "unary":
            reply, done = channel.unary_unary(path, **coders).with_call(echo(args.text), **limit)
            replies.append(reply.text)
        elif args.method == "client":
            texts = (echo(f"{args.text}{number}") for number in range(args.count))
            reply, done = channel.stream_unary(path, **coders).with_call(texts, **limit)
            replies.append(reply.text)
        elif args.method == "server":
            done = channel.unary_stream(path, **coders)(echo(args.text), **limit)
            replies.extend(reply.text for reply in done)
        else:
            done = in_turns(channel.stream_stream(path, **coders), replies, limit)
        return done

    def in_turns(method, replies, limit):
        # Each message only after the answer to the one before.
        outbox = queue.Queue()
        done = method(iter(outbox.get, None), **limit)
        for number in range(args.count):
            outbox.put(echo(f"{args.text}{number}"))
            replies.append(next(done).text)
        outbox.put(None)
        for _ in done:
            raise ValueError("a message too many")
        return done

    calls = []
    for _ in range(args.times):
        begin, replies, code, message, server = time.monotonic(), [], "OK", "", ""
        try:
            done = one(replies)
            server = dict(done.initial_metadata()).get("x-server", "")
        except grpc.RpcError as error:
            code, message = error.code().name, error.details() or ""
        ms = (time.monotonic() - begin) * 1000
        calls.append({"code": code, "message": message, "replies": replies, "server": server, "ms": ms})
    print(json.dumps({"calls": calls}), flush=True)


def main():
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers(dest="verb", required=True)
    serving = verbs.add_parser("serve")
    serving.add_argument("port", type=int)
    serving.add_argument("name")
    calling = verbs.add_parser("call")
    calling.add_argument("address")
    calling.add_argument("method", choices=["unary", "server", "client", "bidi"])
    calling.add_argument("--text", default="hello")
    calling.add_argument("--count", type=int, default=3)
    calling.add_argument("--code", type=int, default=0)
    calling.add_argument("--delay-ms", type=int, default=0)
    calling.add_argument("--deadline-ms", type=int)
    calling.add_argument("--times", type=int, default=1)
    args = parser.parse_args()
    if args.verb == "serve":
        serve(args.port, args.name)
    else:
        call(args)


main()
