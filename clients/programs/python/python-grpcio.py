import queue
import sys

import grpc


def same(message):
    return message


what, base = sys.argv[1:]
host = base.removeprefix("https://") + ":443"
with grpc.secure_channel(host, grpc.ssl_channel_credentials()) as channel:
    if what == "stream":
        questions = queue.SimpleQueue()
        questions.put(b"event 0")
        call = channel.stream_stream("/sandgate.test.Echo/BidiStream", same, same)
        for count, answer in enumerate(call(iter(questions.get, None), timeout=30), 1):
            print(answer.decode(), flush=True)
            questions.put(b"event %d" % count if count < 3 else None)
    else:
        call = channel.unary_unary("/sandgate.test.Echo/Unary", same, same)
        print(call(b"Keep it logically awesome.", timeout=30).decode())
